"""What the doctor makes of what was seen."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from control_plane.doctor import Finding, Verdict, judge_agents, judge_clocks, worst
from control_plane.doctor.judge import (
    MIB,
    Validity,
    judge_certificate,
    judge_disk,
    judge_handshakes,
    judge_hub,
    judge_modes,
    judge_schema,
    judge_synchronised,
)

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def _agent(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "liveness": "live", "health": "good", "clock_offset_ms": 12} | fields


def _certificate(begins_days: int, ends_days: int) -> Finding:
    validity = Validity(NOW + timedelta(days=begins_days), NOW + timedelta(days=ends_days))
    return judge_certificate("certificate", "HTTPS certificate", validity, NOW, "make a new one")


@pytest.mark.parametrize(
    ("finding", "verdict", "saw"),
    [
        (judge_modes({"a": 0o600, "b": 0o400}), Verdict.PASS, "2 are there"),
        (judge_modes({"a": 0o640, "b": 0o600}), Verdict.FAIL, "other users may read a"),
        (judge_modes({"a": None, "b": 0o644}), Verdict.FAIL, "missing: a"),
        (judge_disk(2_048 * MIB), Verdict.PASS, "2,048 MiB free"),
        (judge_disk(2_048 * MIB - 1), Verdict.WARN, "2,047 MiB free"),
        (judge_disk(200 * MIB - 1), Verdict.FAIL, "199 MiB free"),
        (judge_schema("0008", "0008"), Verdict.PASS, "this program's"),
        (judge_schema("0007", "0008"), Verdict.WARN, "version 0007; this program's is 0008"),
        (judge_schema(None, "0008"), Verdict.WARN, "version None"),
        (judge_schema("0009", "0008"), Verdict.FAIL, "this program knows 0008"),
        (_certificate(-1, 31), Verdict.PASS, "valid until 2026-12-26"),
        (_certificate(-1, 29), Verdict.WARN, "valid until 2026-12-24"),
        (_certificate(-2, 0), Verdict.FAIL, "expired on 2026-11-25"),
        (_certificate(1, 2), Verdict.FAIL, "valid only from 2026-11-26"),
        (judge_handshakes([]), Verdict.NOT_AVAILABLE, "no peers"),
        (judge_handshakes([1.0, 180.0]), Verdict.PASS, "2 of 2 peers"),
        (judge_handshakes([1.0, None]), Verdict.WARN, "1 of 2 peers"),
        (judge_handshakes([181.0, None]), Verdict.FAIL, "0 of 2 peers"),
        (judge_synchronised(synchronised=True), Verdict.PASS, "time service"),
        (judge_synchronised(synchronised=False), Verdict.WARN, "no time service"),
        (judge_clocks([]), Verdict.NOT_AVAILABLE, "no host was heard yet"),
        (judge_clocks([_agent("a", clock_offset_ms=None)]), Verdict.NOT_AVAILABLE, "no host was heard yet"),
        (judge_clocks([_agent("a", clock_offset_ms=-30_000)]), Verdict.PASS, "at most 30.0 s off"),
        (judge_clocks([_agent("a", clock_offset_ms=-30_001)]), Verdict.FAIL, "more than 30 s off: a"),
        (judge_agents([]), Verdict.NOT_AVAILABLE, "none yet"),
        (judge_agents([_agent("a"), _agent("b")]), Verdict.PASS, "2 live"),
        (judge_agents([_agent("a"), _agent("b", liveness="suspect")]), Verdict.WARN, "not heard of now: b"),
        (judge_agents([_agent("a", health="critical")]), Verdict.WARN, "a card is critical: a"),
        (judge_agents([_agent("a", liveness="out")]), Verdict.FAIL, "0 of 1 live"),
    ],
)
def test_what_was_seen_is_judged(finding: Finding, verdict: Verdict, saw: str) -> None:
    assert finding.verdict is verdict
    assert saw in finding.saw
    # Whatever is not well says what to do.
    assert finding.advice or verdict not in (Verdict.WARN, Verdict.FAIL)


@pytest.mark.parametrize(
    ("runs", "is_up", "tunnels_count", "verdict", "words"),
    [
        (True, True, 3, Verdict.PASS, "runs, interface daalu-hub is up"),
        (False, False, 0, Verdict.WARN, "no host needs it yet"),
        (False, False, 1, Verdict.FAIL, "does not run; 1 host need"),
        (False, True, 2, Verdict.FAIL, "tunnels work, but changes do not reach it"),
        (True, False, 2, Verdict.FAIL, "there is no interface daalu-hub"),
    ],
)
def test_a_hub_is_needed_once_there_are_tunnels(
    runs: bool, is_up: bool, tunnels_count: int, verdict: Verdict, words: str
) -> None:
    finding = judge_hub(runs=runs, interface="daalu-hub", is_up=is_up, tunnels_count=tunnels_count)
    assert (finding.verdict, words in finding.saw) == (verdict, True), finding


def test_when_every_hosts_clock_is_off_this_one_is_suspected() -> None:
    off = [_agent(name, clock_offset_ms=60_000) for name in "ab"]
    assert "this machine's clock may be the wrong one" in judge_clocks(off).advice
    assert "this machine's" not in judge_clocks([*off, _agent("c")]).advice


def test_many_names_are_cut_and_counted() -> None:
    finding = judge_agents([_agent(f"host-{number}", liveness="out") for number in range(8)])
    assert "host-4 and 3 more" in finding.saw


def test_the_worst_finding_decides_and_none_is_no_judgement() -> None:
    found = [
        Finding("a", "a", verdict, "x") for verdict in (Verdict.PASS, Verdict.WARN, Verdict.NOT_AVAILABLE)
    ]
    assert worst(found) is Verdict.WARN
    assert worst([]) is Verdict.NOT_AVAILABLE
