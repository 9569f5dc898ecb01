"""What the gate let in and has not seen end, read beside the gate that writes it."""

from pathlib import Path

import pytest

from agent.engine.gate import Journal
from agent.engine.gate import journal as journal_module
from agent.engine.open_calls import OpenCalls

NOW_S = 1_000.0


def _admission(attempt: str, tier: str = "own") -> dict[str, object]:
    names = {"kind": "admission", "call_id": "c", "attempt_id": attempt, "served_name": "tiny", "path": "/"}
    return names | {"tier": tier, "expires_s": 1_030, "accepted_unix_ms": 1}


def test_calls_count_from_their_admission_to_their_receipt(tmp_path: Path) -> None:
    journal, calls = Journal(tmp_path, NOW_S), OpenCalls(tmp_path)
    assert calls.count() == 0
    for attempt, tier in (("a", "own"), ("b", "pool"), ("probe", "agent")):
        journal.admit(_admission(attempt, tier), NOW_S)
    assert calls.count() == 2
    journal.end(_admission("a"), {"outcome": "COMPLETE", "ended_unix_ms": 2})
    assert calls.count() == 1


def test_whoever_looks_first_after_a_while_and_over_segments_sees_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "SEGMENT_BYTES_MAX", 400)
    journal, watching = Journal(tmp_path, NOW_S), OpenCalls(tmp_path)
    for number in range(20):
        journal.admit(_admission(f"a{number}"), NOW_S)
        if number % 2:
            journal.end(_admission(f"a{number}"), {"outcome": "COMPLETE", "ended_unix_ms": 2})
        watching.count()
    assert len(list(tmp_path.glob("*.jsonl"))) > 2
    assert watching.count() == OpenCalls(tmp_path).count() == 10


def test_what_an_engine_left_open_is_over_when_the_next_one_starts(tmp_path: Path) -> None:
    journal, calls = Journal(tmp_path, NOW_S), OpenCalls(tmp_path)
    journal.admit(_admission("a"), NOW_S)
    journal.close()
    assert calls.count() == 1
    calls.start_anew()
    assert calls.count() == 0
    again = Journal(tmp_path, NOW_S)
    again.admit(_admission("b"), NOW_S)
    assert calls.count() == 1


def test_a_torn_line_is_read_once_it_is_whole_and_a_damaged_one_left_out(tmp_path: Path) -> None:
    journal, calls = Journal(tmp_path, NOW_S), OpenCalls(tmp_path)
    (segment,) = tmp_path.glob("*.jsonl")
    with segment.open("ab") as file:
        file.write(b'not JSON\n{"kind":"admission","attempt_id":"a",')
        file.flush()
        assert calls.count() == 0
        file.write(b'"tier":"own"}\n')
    assert calls.count() == 1
    journal.close()
