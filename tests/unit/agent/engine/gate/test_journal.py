"""The journal over restarts, tears, rotations and full disks."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from agent.engine.gate import Journal, journal

NOW = 1_000.0


def admission(attempt: str, *, tier: str = "own", expires_s: int = 1_030) -> dict[str, Any]:
    return {
        "kind": "admission",
        "call_id": f"call of {attempt}",
        "attempt_id": attempt,
        "served_name": "tiny-random",
        "tier": tier,
        "expires_s": expires_s,
        "path": "/v1/completions",
        "accepted_unix_ms": 1_000_000,
    }


def end(written: Journal, attempt: dict[str, Any], tokens: int = 1) -> None:
    written.end(attempt, {"completion_tokens": tokens, "outcome": "COMPLETE"})


def receipts(directory: Path) -> list[tuple[int, str, str]]:
    found = [
        json.loads(line)
        for segment in sorted(directory.glob("*.jsonl"))
        for line in segment.read_text().splitlines()
    ]
    return [
        (record["sequence"], record["attempt_id"], record["outcome"])
        for record in found
        if record["kind"] == "receipt"
    ]


def test_sequence_numbers_go_on_over_restarts(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        written = Journal(tmp_path, NOW)
        call = admission(f"att-{number}")
        assert written.admit(call, NOW)
        end(written, call)
        written.close()
    assert receipts(tmp_path) == [(n, f"att-{n}", "COMPLETE") for n in (1, 2, 3)]


def test_sequence_numbers_go_on_when_everything_older_was_deleted(tmp_path: Path) -> None:
    written = Journal(tmp_path, NOW)
    call = admission("att-1")
    written.admit(call, NOW)
    end(written, call)
    written.close()
    Journal(tmp_path, NOW).close()
    min(tmp_path.glob("*.jsonl")).unlink()
    again = Journal(tmp_path, NOW)
    call = admission("att-2")
    again.admit(call, NOW)
    end(again, call)
    assert receipts(tmp_path) == [(2, "att-2", "COMPLETE")]


def test_calls_that_ran_when_the_engine_died_get_a_receipt_once(tmp_path: Path) -> None:
    written = Journal(tmp_path, NOW)
    done = admission("done")
    written.admit(done, NOW)
    written.admit(admission("cut"), NOW)
    end(written, done)
    written.close()
    for _ in range(2):
        Journal(tmp_path, NOW).close()
    assert receipts(tmp_path) == [(1, "done", "COMPLETE"), (2, "cut", "INTERRUPTED")]


def test_probes_that_were_cut_leave_no_receipt(tmp_path: Path) -> None:
    written = Journal(tmp_path, NOW)
    written.admit(admission("probe", tier="agent"), NOW)
    written.close()
    Journal(tmp_path, NOW).close()
    assert receipts(tmp_path) == []


def test_a_call_has_one_receipt(tmp_path: Path) -> None:
    written = Journal(tmp_path, NOW)
    call = admission("att-1")
    written.admit(call, NOW)
    end(written, call)
    end(written, call)
    assert len(receipts(tmp_path)) == 1


def test_attempts_are_remembered_while_their_tickets_live(tmp_path: Path) -> None:
    written = Journal(tmp_path, NOW)
    written.admit(admission("short", expires_s=1_010), NOW)
    written.admit(admission("long", expires_s=1_050), NOW)
    written.close()
    again = Journal(tmp_path, NOW + 20)
    assert set(again.attempts) == {"long"}


def test_a_torn_last_line_is_dropped_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    written = Journal(tmp_path, NOW)
    call = admission("att-1")
    written.admit(call, NOW)
    end(written, call)
    written.close()
    segment = max(tmp_path.glob("*.jsonl"))
    with segment.open("ab") as file:
        file.write(b'{"kind":"receipt","sequ')
    with caplog.at_level(logging.WARNING, "daalu.gate"):
        again = Journal(tmp_path, NOW)
    assert segment.name in caplog.text
    call = admission("att-2")
    again.admit(call, NOW)
    end(again, call)
    again.close()
    assert max(tmp_path.glob("*.jsonl")) != segment
    assert set(Journal(tmp_path, NOW).attempts) == {"att-1", "att-2"}


def test_a_rotation_carries_over_what_still_matters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SEGMENT_BYTES_MAX", 2_000)
    written = Journal(tmp_path, NOW)
    written.admit(admission("running"), NOW)
    for number in range(40):
        call = admission(f"att-{number}", expires_s=1_000)
        written.admit(call, NOW)
        end(written, call)
    written.close()
    segments = sorted(tmp_path.glob("*.jsonl"))
    assert len(segments) > 2
    for segment in segments[:-1]:
        segment.unlink()
    again = Journal(tmp_path, NOW)
    assert "running" in again.attempts
    assert receipts(tmp_path)[-1] == (41, "running", "INTERRUPTED")


def test_the_journal_has_a_largest_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(journal, "SEGMENT_BYTES_MAX", 1_000)
    monkeypatch.setattr(journal, "SEGMENTS_MAX", 3)
    written = Journal(tmp_path, NOW)
    for number in range(100):
        call = admission(f"att-{number}")
        written.admit(call, NOW + 100)
        end(written, call)
    assert len(list(tmp_path.glob("*.jsonl"))) == 3
    assert "never collected" in caplog.text


def test_a_second_journal_on_the_directory_is_refused(tmp_path: Path) -> None:
    written = Journal(tmp_path, NOW)
    with pytest.raises(RuntimeError, match="another engine"):
        Journal(tmp_path, NOW)
    written.close()


def test_a_full_disk_refuses_the_record_and_tears_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Journal(tmp_path, NOW)
    whole = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda file, line: whole(file, line[:10]))
        assert not written.admit(admission("att-1"), NOW)
    call = admission("att-2")
    assert written.admit(call, NOW)
    end(written, call)
    assert receipts(tmp_path) == [(1, "att-2", "COMPLETE")]
    assert "att-1" in written.attempts


def test_numbers_go_on_after_the_floor_and_never_back(tmp_path: Path) -> None:
    written = Journal(tmp_path, NOW)
    for number, floor in enumerate((None, 10, 5), 1):
        if floor is not None:
            other = tmp_path / "next"
            other.write_text(f"{floor}\n")
            other.replace(tmp_path / journal.FLOOR)
        call = admission(f"att-{number}")
        written.admit(call, NOW)
        end(written, call)
    written.close()
    Journal(tmp_path, NOW).close()
    assert [sequence for sequence, _, _ in receipts(tmp_path)] == [1, 11, 12]


def test_a_damaged_floor_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / journal.FLOOR).write_text("many")
    written = Journal(tmp_path, NOW)
    call = admission("att-1")
    written.admit(call, NOW)
    end(written, call)
    assert receipts(tmp_path) == [(1, "att-1", "COMPLETE")]
    assert "cannot read" in caplog.text
