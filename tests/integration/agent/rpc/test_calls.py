"""The calls themselves, over a real connection."""

import asyncio
import itertools
from pathlib import Path

import grpc
import pytest
from daalu_wire.v1 import agent_pb2

from agent.cards import SimulatedReader
from agent.cards.reader import Inventory, Sample
from agent.rpc import CannotListen
from agent.rpc.server import CALLS_MAX
from tests.support.rpc import REFERENCE, Authority, RunningAgent, enrolled_state, running_agent

TIMEOUT_S = 10.0


class BrokenReader(SimulatedReader):
    """A reader with a defect of its own."""

    async def sample(self) -> Sample:
        raise RuntimeError("defect")

    async def inventory(self) -> Inventory:
        return await super().inventory()


async def take(agent: RunningAgent, count: int, interval_ms: int = 500) -> list[agent_pb2.TelemetrySample]:
    call = agent.stub().StreamTelemetry(
        agent_pb2.StreamTelemetryRequest(interval_ms=interval_ms), timeout=TIMEOUT_S
    )
    samples = []
    for _ in range(count):
        sample = await call.read()
        assert isinstance(sample, agent_pb2.TelemetrySample)
        samples.append(sample)
    call.cancel()
    return samples


async def test_telemetry_comes_every_interval_with_cards_and_engine(agent: RunningAgent) -> None:
    samples = await take(agent, 3)
    assert [sample.sequence for sample in samples] == [1, 2, 3]
    times_ms = [sample.sampled_unix_ms for sample in samples]
    assert all(later - earlier >= 450 for earlier, later in itertools.pairwise(times_ms))
    assert samples[0].engine.running_calls == 2
    assert samples[0].cards[0].simulated
    assert samples[0].card_system.state == agent_pb2.CARD_SYSTEM_STATE_SIMULATED
    assert {sample.daemon_started_unix_ms for sample in samples} == {samples[0].daemon_started_unix_ms}


async def test_the_sequence_goes_on_over_streams(agent: RunningAgent) -> None:
    await take(agent, 1)
    assert (await take(agent, 1))[0].sequence == 2


async def test_a_defect_in_the_card_reader_does_not_end_the_stream(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    state = enrolled_state(tmp_path / "state", authority)
    async with running_agent(state, authority, BrokenReader()) as agent:
        samples = await take(agent, 2)
    assert samples[1].card_system.state == agent_pb2.CARD_SYSTEM_STATE_ERROR
    assert samples[1].engine.phase == agent_pb2.ENGINE_PHASE_READY
    assert "RuntimeError: defect" in caplog.text


async def test_a_deployment_is_followed_to_its_end(agent: RunningAgent) -> None:
    call = agent.stub().DeployModel(agent_pb2.DeployModelRequest(model=REFERENCE), timeout=TIMEOUT_S)
    phases = [progress.phase async for progress in call]
    assert phases == [agent_pb2.ENGINE_PHASE_LOADING, agent_pb2.ENGINE_PHASE_READY]
    assert agent.engine.deployed == ["tiny"]


async def test_a_model_that_is_not_in_this_hosts_catalogue_is_not_found(agent: RunningAgent) -> None:
    model = agent_pb2.CatalogueReference(model_id="big", digest="d" * 64)
    call = agent.stub().DeployModel(agent_pb2.DeployModelRequest(model=model), timeout=TIMEOUT_S)
    assert await call.code() is grpc.StatusCode.NOT_FOUND
    assert "no model 'big'" in (await call.details() or "")


async def test_engine_orders_are_passed_on(agent: RunningAgent) -> None:
    stub = agent.stub()
    assert (await stub.Drain(agent_pb2.DrainRequest(), timeout=TIMEOUT_S)).running_calls == 3
    assert agent.engine.drained
    await stub.Resume(agent_pb2.ResumeRequest(), timeout=TIMEOUT_S)
    assert not agent.engine.drained
    await stub.StopModel(agent_pb2.StopModelRequest(grace_ms=1_000), timeout=TIMEOUT_S)
    assert agent.engine.grace_ms == 1_000
    keys = [agent_pb2.TicketKey(id=1, key=b"k" * 32)]
    await stub.InstallTicketKeys(agent_pb2.InstallTicketKeysRequest(keys=keys), timeout=TIMEOUT_S)
    assert agent.engine.keys == {1: b"k" * 32}


@pytest.mark.parametrize("keys", [[], [agent_pb2.TicketKey(id=1, key=b"short")]])
async def test_ticket_keys_that_cannot_be_are_refused_without_repeating_them(
    agent: RunningAgent, keys: list[agent_pb2.TicketKey], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await agent.stub().InstallTicketKeys(agent_pb2.InstallTicketKeysRequest(keys=keys), timeout=TIMEOUT_S)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "short" not in f"{refused.value.details()}{caplog.text}"


async def test_receipts_resume_after_a_cursor_and_acknowledgements_reach_the_engine(
    agent: RunningAgent,
) -> None:
    agent.engine.add_receipts(1, 2, 3)
    call = agent.stub().StreamReceipts(timeout=TIMEOUT_S)
    await call.write(agent_pb2.StreamReceiptsRequest(after_sequence=1))
    received = [await call.read(), await call.read()]
    agent.engine.add_receipts(4)
    received.append(await call.read())
    assert [each.sequence for each in received if isinstance(each, agent_pb2.Receipt)] == [2, 3, 4]
    await call.write(agent_pb2.StreamReceiptsRequest(acknowledged_sequence=3))
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK
    assert agent.engine.acknowledged == 3
    assert agent.engine.receipts_open == 0


async def test_a_caller_that_hangs_up_leaves_no_receipts_stream_behind(agent: RunningAgent) -> None:
    agent.engine.add_receipts(1)
    call = agent.stub().StreamReceipts(timeout=TIMEOUT_S)
    await call.write(agent_pb2.StreamReceiptsRequest(after_sequence=0))
    await call.read()
    assert agent.engine.receipts_open == 1
    call.cancel()
    async with asyncio.timeout(TIMEOUT_S):
        while agent.engine.receipts_open:
            agent.engine.changed.clear()
            await agent.engine.changed.wait()


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (agent_pb2.StreamReceiptsRequest(acknowledged_sequence=1), None),
        (
            agent_pb2.StreamReceiptsRequest(after_sequence=0),
            agent_pb2.StreamReceiptsRequest(acknowledged_sequence=9),
        ),
    ],
)
async def test_receipts_that_were_never_sent_cannot_be_acknowledged(
    agent: RunningAgent,
    first: agent_pb2.StreamReceiptsRequest,
    then: agent_pb2.StreamReceiptsRequest | None,
) -> None:
    call = agent.stub().StreamReceipts(timeout=TIMEOUT_S)
    await call.write(first)
    if then is not None:
        await call.write(then)
    assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert agent.engine.acknowledged == 0


async def test_a_message_over_the_limit_is_refused(agent: RunningAgent) -> None:
    keys = [agent_pb2.TicketKey(id=1, key=b"k" * 100_000)]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await agent.stub().InstallTicketKeys(agent_pb2.InstallTicketKeysRequest(keys=keys), timeout=TIMEOUT_S)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert agent.engine.keys == {}


async def test_calls_over_the_limit_are_refused_and_those_before_go_on(agent: RunningAgent) -> None:
    # On two connections: one alone is held back by its own limit.
    stubs = [agent.stub(), agent.stub()]
    request = agent_pb2.StreamTelemetryRequest(interval_ms=500)
    calls = [stub.StreamTelemetry(request) for stub in stubs for _ in range(CALLS_MAX // 2)]
    firsts = [await call.read() for call in calls]
    assert all(isinstance(first, agent_pb2.TelemetrySample) for first in firsts)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await agent.stub().GetInventory(agent_pb2.GetInventoryRequest(), timeout=TIMEOUT_S)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert isinstance(await calls[0].read(), agent_pb2.TelemetrySample)
    for call in calls:
        call.cancel()


async def test_a_port_that_is_taken_is_said_with_the_way_out(
    agent: RunningAgent, tmp_path: Path, authority: Authority
) -> None:
    state = enrolled_state(tmp_path / "second", authority)
    with pytest.raises(CannotListen, match=r"another program has the port"):
        async with running_agent(state, authority, port=agent.server.port):
            pass
