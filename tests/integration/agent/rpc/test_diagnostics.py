"""Diagnostics over a real connection: every check, in order, and one look at a time."""

import asyncio
import time
from collections.abc import AsyncIterable
from pathlib import Path

import grpc
import pytest
from daalu_wire.v1 import agent_pb2

from agent.cards import SimulatedReader
from agent.cards.reader import Sample
from tests.support.rpc import Authority, RunningAgent, enrolled_state, running_agent

TIMEOUT_S = 20.0
CHECKS = ["driver", "nvml", "pcie", "ecc", "clocks", "disk", "memory", "clock", "tunnel", "mtu", "engine"]


class SlowReader(SimulatedReader):
    """Answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def sample(self) -> Sample:
        self.asked.set()
        await self.may_answer.wait()
        return await super().sample()


class BrokenReader(SimulatedReader):
    async def sample(self) -> Sample:
        raise RuntimeError("defect")


async def _examine(agent: RunningAgent, clock_unix_ms: int = 0) -> list[agent_pb2.DiagnosticsProgress]:
    request = agent_pb2.RunDiagnosticsRequest(clock_unix_ms=clock_unix_ms)
    return [step async for step in agent.stub().RunDiagnostics(request, timeout=TIMEOUT_S)]


def _results(steps: list[agent_pb2.DiagnosticsProgress]) -> dict[str, agent_pb2.DiagnosticResult]:
    return {step.ended.check: step.ended for step in steps if step.HasField("ended")}


async def test_every_check_is_told_as_it_begins_and_ends(agent: RunningAgent) -> None:
    steps = await _examine(agent, time.time_ns() // 1_000_000)
    assert [step.WhichOneof("step") for step in steps] == ["begun", "ended"] * len(CHECKS)
    assert {step.checks_count for step in steps} == {len(CHECKS)}
    results = _results(steps)
    assert list(results) == CHECKS
    assert all(result.saw and result.title and result.verdict for result in results.values())
    assert results["driver"].verdict == agent_pb2.DIAGNOSTIC_VERDICT_NOT_AVAILABLE
    assert results["clock"].verdict == agent_pb2.DIAGNOSTIC_VERDICT_PASS
    assert "direct mode" in results["tunnel"].saw
    assert results["disk"].evidence[0].command.startswith("statvfs ")


async def test_a_caller_whose_clock_is_off_is_told(agent: RunningAgent) -> None:
    results = _results(await _examine(agent, time.time_ns() // 1_000_000 - 60_000))
    assert results["clock"].verdict == agent_pb2.DIAGNOSTIC_VERDICT_FAIL
    assert "ahead of the control plane's" in results["clock"].saw


async def test_a_second_look_meanwhile_is_refused_and_hanging_up_ends_the_first(
    tmp_path: Path, authority: Authority
) -> None:
    state = enrolled_state(tmp_path / "state", authority)
    cards = SlowReader()
    async with running_agent(state, authority, cards) as agent:
        first = agent.stub().RunDiagnostics(agent_pb2.RunDiagnosticsRequest(), timeout=TIMEOUT_S)
        reading = asyncio.create_task(_drain(first))
        await asyncio.wait_for(cards.asked.wait(), TIMEOUT_S)
        second = agent.stub().RunDiagnostics(agent_pb2.RunDiagnosticsRequest(), timeout=TIMEOUT_S)
        assert await second.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "another examination" in (await second.details() or "")
        first.cancel()
        await asyncio.wait([reading])
        cards.may_answer.set()
        await _examine_once_free(agent)


async def _drain(call: AsyncIterable[object]) -> None:
    async for _ in call:
        pass


async def _examine_once_free(agent: RunningAgent) -> None:
    """As soon as the look before has ended."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            try:
                await _examine(agent)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise
            else:
                return


async def test_a_level_that_is_not_there_is_refused(agent: RunningAgent) -> None:
    call = agent.stub().RunDiagnostics(agent_pb2.RunDiagnosticsRequest(level=4), timeout=TIMEOUT_S)
    assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert await call.details() == "this agent knows diagnostics of level 0 to 3, not of level 4"


async def test_a_check_that_fails_itself_is_a_finding_and_the_others_go_on(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    state = enrolled_state(tmp_path / "state", authority)
    async with running_agent(state, authority, BrokenReader()) as agent:
        results = _results(await _examine(agent))
    assert list(results) == CHECKS
    assert "a defect in the check itself" in results["nvml"].saw
    assert "RuntimeError: defect" in caplog.text
