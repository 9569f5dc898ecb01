"""NVIDIA's own tests over a real connection, run by a `dcgmi` that says what a test wrote for it.

No card is here: that the real tool says what its manual documents is unproved.
"""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path

import grpc
import pytest
from daalu_wire.v1 import agent_pb2

from agent.cards import SimulatedReader
from agent.cards.reader import Inventory
from agent.diagnostics import dcgmi as dcgmi_module
from agent.diagnostics import levels
from tests.support.dcgmi import FakeDcgmi, of_card, report
from tests.support.fleet import eventually
from tests.support.programs import exists
from tests.support.rpc import Authority, RunningAgent, enrolled_state, running_agent

TIMEOUT_S = 20.0


class RealCards(SimulatedReader):
    """Says that its card is a real one, of a name that a test chose."""

    card_name = "NVIDIA H100 80GB HBM3"

    async def inventory(self) -> Inventory:
        card = agent_pb2.Card(uuid="GPU-1", name=agent_pb2.TextReading(value=self.card_name))
        return agent_pb2.CardSystem(state=agent_pb2.CARD_SYSTEM_STATE_OK), [card]


class Stopped:
    """What the scripted engine of an agent says when nothing is deployed."""

    @staticmethod
    def sample() -> agent_pb2.EngineSample:
        return agent_pb2.EngineSample(phase=agent_pb2.ENGINE_PHASE_STOPPED)


@pytest.fixture
def dcgmi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDcgmi:
    fake = FakeDcgmi(tmp_path)
    monkeypatch.setenv("PATH", fake.path)
    return fake


@pytest.fixture
async def carded(tmp_path: Path, authority: Authority) -> AsyncIterator[RunningAgent]:
    async with running_agent(enrolled_state(tmp_path / "state", authority), authority, RealCards()) as agent:
        agent.engine.sample = Stopped.sample  # type: ignore[method-assign]
        yield agent


def _ask(
    agent: RunningAgent, level: int, *, acknowledged: bool = True, only_check: bool = False
) -> "grpc.aio.UnaryStreamCall[agent_pb2.RunDiagnosticsRequest, agent_pb2.DiagnosticsProgress]":
    request = agent_pb2.RunDiagnosticsRequest(
        level=level, stress_acknowledged=acknowledged, only_check=only_check
    )
    return agent.stub().RunDiagnostics(request, timeout=TIMEOUT_S)


async def _results(agent: RunningAgent, level: int) -> list[agent_pb2.DiagnosticResult]:
    return [step.ended async for step in _ask(agent, level) if step.HasField("ended")]


async def test_a_run_is_told_with_its_command_its_output_and_a_verdict_for_each_test(
    carded: RunningAgent, dcgmi: FakeDcgmi
) -> None:
    text = report(
        [
            ("Integration", "pcie", [of_card(0, "Pass")]),
            ("Hardware", "memory", [of_card(0, "Fail", warnings=[{"error_id": 36, "warning": "reset it"}])]),
            ("Stress", "targeted_power", [of_card(0, "Skip")]),
        ]
    )
    dcgmi.answers(text, 226)
    whole, *tests = await _results(carded, 2)
    assert dcgmi.calls() == ["diag -r 2 --json"]
    assert (whole.check, whole.verdict) == ("dcgm", agent_pb2.DIAGNOSTIC_VERDICT_FAIL)
    assert whole.saw == "1 failed, 1 passed, 1 not run"
    assert whole.evidence[0].command.endswith("/dcgmi diag -r 2 --json")
    assert "".join(each.output for each in whole.evidence) == text
    assert [(each.title, each.verdict) for each in tests] == [
        ("DCGM Integration: pcie", agent_pb2.DIAGNOSTIC_VERDICT_PASS),
        ("DCGM Hardware: memory", agent_pb2.DIAGNOSTIC_VERDICT_FAIL),
        ("DCGM Stress: targeted_power", agent_pb2.DIAGNOSTIC_VERDICT_NOT_AVAILABLE),
    ]
    assert "reset it" in tests[1].saw


async def test_a_tool_that_ran_no_test_is_no_verdict_on_the_card(
    carded: RunningAgent, dcgmi: FakeDcgmi
) -> None:
    dcgmi.answers("Error: unable to establish a connection to the specified host: localhost\n", 255)
    call = _ask(carded, 1)
    await call.read()
    step = await call.read()
    assert isinstance(step, agent_pb2.DiagnosticsProgress)
    only = step.ended
    assert await call.code() is grpc.StatusCode.ABORTED
    assert "ran no test" in (await call.details() or "")
    assert only.verdict == agent_pb2.DIAGNOSTIC_VERDICT_NOT_AVAILABLE
    assert "unable to establish a connection" in only.saw
    assert "nvidia-dcgm" in only.advice


async def test_a_status_that_fits_no_verdict_is_a_warning(carded: RunningAgent, dcgmi: FakeDcgmi) -> None:
    dcgmi.answers(report([("Hardware", "memory", [of_card(0, "Pass")])]), 3)
    whole, _ = await _results(carded, 1)
    assert whole.verdict == agent_pb2.DIAGNOSTIC_VERDICT_WARN
    assert "ended with status 3" in whole.saw


async def test_output_beyond_what_is_kept_is_cut_and_that_is_said(
    carded: RunningAgent, dcgmi: FakeDcgmi
) -> None:
    padding = "x" * 200_000
    dcgmi.answers(padding + "\n" + report([("Hardware", "memory", [of_card(0, "Pass")])]), 0)
    whole, _ = await _results(carded, 1)
    assert len(whole.evidence) == dcgmi_module.MAX_PIECES + 1
    assert "more parts were left out" in whole.evidence[-1].output


async def test_what_cannot_be_run_is_refused_before_anything_is_done(
    carded: RunningAgent, dcgmi: FakeDcgmi, monkeypatch: pytest.MonkeyPatch
) -> None:
    for level, acknowledged, card_name, words in (
        (2, False, "NVIDIA H100", "wants an acknowledgement"),
        (2, True, "NVIDIA GeForce RTX 4090", "supports level 1 only"),
    ):
        monkeypatch.setattr(RealCards, "card_name", card_name)
        call = _ask(carded, level, acknowledged=acknowledged)
        assert await call.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert words in (await call.details() or "")
    assert await _ask(carded, 4).code() is grpc.StatusCode.INVALID_ARGUMENT
    assert dcgmi.calls() == []


async def test_a_check_alone_runs_nothing_and_an_engine_is_no_hindrance_to_it(
    carded: RunningAgent, dcgmi: FakeDcgmi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        carded.engine, "sample", lambda: agent_pb2.EngineSample(phase=agent_pb2.ENGINE_PHASE_READY)
    )
    assert await _ask(carded, 3, acknowledged=False, only_check=True).code() is grpc.StatusCode.OK
    refused = _ask(carded, 3)
    assert await refused.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "an engine is on them" in (await refused.details() or "")
    assert dcgmi.calls() == []
    monkeypatch.setenv("PATH", "/nonexistent")
    absent = _ask(carded, 1, only_check=True)
    assert await absent.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "install NVIDIA's DCGM" in (await absent.details() or "")


async def test_a_simulated_card_is_refused(agent: RunningAgent, dcgmi: FakeDcgmi) -> None:
    call = _ask(agent, 1)
    assert await call.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "simulated" in (await call.details() or "")


async def _all(call: AsyncIterable[agent_pb2.DiagnosticsProgress]) -> None:
    async for step in call:
        assert step.begun.startswith("DCGM level 2, ")


async def _pids(dcgmi: FakeDcgmi) -> tuple[int, ...]:
    await eventually(lambda: bool(dcgmi.pids()))
    return dcgmi.pids()


async def _ended(pids: tuple[int, ...]) -> None:
    await eventually(lambda: not any(map(exists, pids)))


async def test_a_caller_that_hangs_up_ends_the_tool_with_its_children(
    carded: RunningAgent, dcgmi: FakeDcgmi
) -> None:
    dcgmi.hangs()
    call = _ask(carded, 2)
    first = await call.read()
    assert isinstance(first, agent_pb2.DiagnosticsProgress)
    assert first.begun == "DCGM level 2, 0 s of at most 900 s"
    pids = await _pids(dcgmi)
    call.cancel()
    await _ended(pids)


async def test_a_tool_that_does_not_end_is_ended_at_its_limit(
    carded: RunningAgent, dcgmi: FakeDcgmi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(levels.LIMIT_S, 2, 2.0)
    monkeypatch.setattr("agent.diagnostics.run.TELL_EVERY_S", 0.5)
    dcgmi.hangs()
    call = _ask(carded, 2)
    with pytest.raises(grpc.aio.AioRpcError, match="did not end within 2 s"):
        await _all(call)
    await _ended(await _pids(dcgmi))


_DAEMON = """
import asyncio
from agent.diagnostics.dcgmi import Dcgmi

async def main():
    async with Dcgmi("dcgmi", 2, 600) as dcgmi:
        await dcgmi.wait(600)

asyncio.run(main())
"""


async def test_the_tool_ends_with_a_daemon_that_was_killed(dcgmi: FakeDcgmi) -> None:
    dcgmi.hangs()
    daemon = subprocess.Popen([sys.executable, "-c", _DAEMON], env=os.environ | {"PATH": dcgmi.path})  # noqa: ASYNC220
    tool, child = await _pids(dcgmi)
    daemon.kill()
    daemon.wait()
    try:
        await _ended((tool,))
    finally:
        os.kill(child, signal.SIGKILL)
