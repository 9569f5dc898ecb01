"""What is said of the host, its tunnel and its engine."""

import pytest
from daalu_wire.v1 import agent_pb2

from agent.diagnostics import judge_host
from agent.diagnostics.finding import Verdict
from agent.diagnostics.judge_host import Disk, PathMtu
from agent.tunnel import LinkStatus

GIB = 1024**3


def _disk(free_gib: float, flush_s: float | None = 0.002) -> Disk:
    return Disk("/var/lib/daalu-agent", int(free_gib * GIB), 500 * GIB, flush_s)


@pytest.mark.parametrize(
    ("state", "models_gib", "verdict"),
    [
        (_disk(100), 100, Verdict.PASS),
        (_disk(0.9), 100, Verdict.FAIL),
        (_disk(4), 100, Verdict.WARN),
        (_disk(100), 10, Verdict.WARN),
        (_disk(100, flush_s=1.5), 100, Verdict.WARN),
        (_disk(100, flush_s=None), 100, Verdict.PASS),
    ],
)
def test_disk(state: Disk, models_gib: float, verdict: Verdict) -> None:
    found = judge_host.disk(state, _disk(models_gib))
    assert found.verdict is verdict
    assert (found.advice == "") is (verdict is Verdict.PASS)


@pytest.mark.parametrize(("available", "verdict"), [(50, Verdict.PASS), (8, Verdict.WARN), (4, Verdict.FAIL)])
def test_memory(available: int, verdict: Verdict) -> None:
    assert judge_host.memory(100 * GIB, available * GIB, 0).verdict is verdict


def test_a_host_that_says_it_has_no_memory_does_not_divide_by_it() -> None:
    assert judge_host.memory(0, 0, 0).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("skew_ms", "verdict", "words"),
    [
        (None, Verdict.NOT_AVAILABLE, "only the control plane"),
        (40, Verdict.PASS, "0.04 s ahead of"),
        (-6_000, Verdict.WARN, "6.00 s behind"),
        (26_000, Verdict.FAIL, "tickets are refused"),
        (-90_000, Verdict.FAIL, "tickets are refused"),
    ],
)
def test_clock(skew_ms: int | None, verdict: Verdict, words: str) -> None:
    found = judge_host.clock(skew_ms)
    assert found.verdict is verdict
    assert words in found.saw


def _link(handshake_unix_s: int | None, words: str = "up (kernel WireGuard)") -> LinkStatus:
    return LinkStatus(words, "fd00::2", "daalu-agent", "control.example:51820", handshake_unix_s, 1, 2)


@pytest.mark.parametrize(
    ("link", "verdict", "words"),
    [
        (None, Verdict.NOT_AVAILABLE, "not enrolled"),
        (LinkStatus("NO TUNNEL: direct mode", "127.0.0.1"), Verdict.NOT_AVAILABLE, "direct mode"),
        (_link(None, "down"), Verdict.FAIL, "down"),
        (_link(0), Verdict.FAIL, "never answered"),
        (_link(1_000), Verdict.PASS, "last handshake 60 s ago"),
        (_link(800), Verdict.FAIL, "not heard any more"),
        # A clock that was set back.
        (_link(2_000), Verdict.PASS, "last handshake 0 s ago"),
    ],
)
def test_tunnel(link: LinkStatus | None, verdict: Verdict, words: str) -> None:
    found = judge_host.tunnel(link, now_unix_s=1_060)
    assert found.verdict is verdict
    assert words in found.saw


@pytest.mark.parametrize(
    ("version", "path_bytes", "verdict"),
    [
        (4, 1_500, Verdict.PASS),
        (4, 1_340, Verdict.PASS),
        (4, 1_339, Verdict.WARN),
        (6, 1_360, Verdict.PASS),
        (6, 1_359, Verdict.WARN),
    ],
)
def test_the_path_must_carry_the_tunnels_largest_packet(
    version: int, path_bytes: int, verdict: Verdict
) -> None:
    assert judge_host.mtu(PathMtu("control.example:51820", version, path_bytes, 1_280)).verdict is verdict


def _engine(
    phase: "agent_pb2.EnginePhase.ValueType", model: str = "tiny", detail: str = ""
) -> agent_pb2.EngineSample:
    return agent_pb2.EngineSample(
        phase=phase, model=agent_pb2.CatalogueReference(model_id=model), detail=detail
    )


@pytest.mark.parametrize(
    ("sample", "first_token_s", "silence", "verdict", "words"),
    [
        (_engine(agent_pb2.ENGINE_PHASE_READY), 0.2, None, Verdict.PASS, "a token in 0.20 s"),
        (_engine(agent_pb2.ENGINE_PHASE_READY), 6.0, None, Verdict.WARN, "a token in 6.00 s"),
        (_engine(agent_pb2.ENGINE_PHASE_READY), None, "no answer", Verdict.FAIL, "no answer"),
        (_engine(agent_pb2.ENGINE_PHASE_STOPPED, ""), None, None, Verdict.NOT_AVAILABLE, "no model"),
        (_engine(agent_pb2.ENGINE_PHASE_LOADING), None, None, Verdict.NOT_AVAILABLE, "loading"),
        (
            _engine(agent_pb2.ENGINE_PHASE_FAILED, detail="out of memory"),
            None,
            None,
            Verdict.FAIL,
            "out of memory",
        ),
    ],
)
def test_engine(
    sample: agent_pb2.EngineSample,
    first_token_s: float | None,
    silence: str | None,
    verdict: Verdict,
    words: str,
) -> None:
    found = judge_host.engine(sample, first_token_s, silence)
    assert found.verdict is verdict
    assert words in found.saw
