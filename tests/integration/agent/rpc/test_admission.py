"""Who gets in: real handshakes over loopback."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from daalu_wire.v1 import agent_pb2

from tests.support.rpc import (
    Authority,
    RunningAgent,
    certificate_of_another_agent,
    enrolled_state,
    running_agent,
)

if TYPE_CHECKING:
    # There for type checkers only.
    from daalu_wire.v1.agent_pb2_grpc import AgentServiceAsyncStub

TIMEOUT_S = 10.0


async def refusal(stub: "AgentServiceAsyncStub") -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.GetInventory(agent_pb2.GetInventoryRequest(), timeout=TIMEOUT_S)
    return refused.value


async def test_the_control_plane_is_answered_and_the_contact_is_noted(agent: RunningAgent) -> None:
    assert agent.server.last_contact is None
    inventory = await agent.stub().GetInventory(agent_pb2.GetInventoryRequest(), timeout=TIMEOUT_S)
    assert inventory.host_name
    assert inventory.cpu_count > 0
    assert inventory.memory_total_bytes > 0
    assert inventory.catalogue[0].model_id == "tiny"
    assert inventory.card_system.state == agent_pb2.CARD_SYSTEM_STATE_SIMULATED
    assert agent.server.last_contact is not None


async def test_a_client_without_a_certificate_does_not_get_through_the_handshake(agent: RunningAgent) -> None:
    error = await refusal(agent.stub(certified=False))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert agent.server.last_contact is None


async def test_a_certificate_of_another_authority_does_not_get_through_the_handshake(
    agent: RunningAgent,
) -> None:
    error = await refusal(agent.stub(Authority().issue_control_plane_certificate()))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert agent.server.last_contact is None


async def test_another_agents_certificate_opens_nothing(agent: RunningAgent) -> None:
    error = await refusal(agent.stub(certificate_of_another_agent(agent.authority)))
    assert error.code() in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAVAILABLE)
    assert agent.server.last_contact is None


async def test_a_client_certificate_with_another_name_is_denied_and_logged(
    agent: RunningAgent, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    client = authority.issue_client_certificate("agt_2.agent.daalu.internal")
    with caplog.at_level(logging.WARNING):
        error = await refusal(agent.stub(client))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert "control-plane.daalu.internal" in (error.details() or "")
    assert "refused /daalu_wire.v1.AgentService/GetInventory from 127.0.0.1 (agt_2.agent" in caplog.text
    assert agent.server.last_contact is None


async def test_streams_are_refused_as_calls_are(agent: RunningAgent, authority: Authority) -> None:
    stub = agent.stub(authority.issue_client_certificate("somebody.else"))
    telemetry = stub.StreamTelemetry(agent_pb2.StreamTelemetryRequest(), timeout=TIMEOUT_S)
    receipts = stub.StreamReceipts(timeout=TIMEOUT_S)
    assert await telemetry.code() is grpc.StatusCode.PERMISSION_DENIED
    assert await receipts.code() is grpc.StatusCode.PERMISSION_DENIED
    assert agent.engine.receipts_open == 0


@pytest.mark.parametrize(("hub_address", "admitted"), [("127.0.0.1", True), ("127.0.0.3", False)])
async def test_with_a_tunnel_only_the_hubs_address_is_answered(
    tmp_path: Path, authority: Authority, hub_address: str, admitted: bool
) -> None:
    state = enrolled_state(tmp_path / "state", authority, address="127.0.0.2", hub_address=hub_address)
    async with running_agent(state, authority) as agent:
        stub = agent.stub()
        if admitted:
            await stub.GetInventory(agent_pb2.GetInventoryRequest(), timeout=TIMEOUT_S)
            return
        error = await refusal(stub)
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "hub's tunnel address" in (error.details() or "")
