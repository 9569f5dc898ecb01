"""Drained and paused are wishes: in the view at once, at the agent as soon as it hears, over restarts."""

import pytest
from daalu_wire.v1 import agent_pb2
from sqlmodel import Session, select

from control_plane.access import Invalid, Unknown
from control_plane.fleet import orders
from control_plane.identifiers import AgentId
from control_plane.store import Store
from control_plane.store.tables import AuditEntry
from tests.support.fleet import enrol, eventually, new_fleet, new_scripted_agent, running
from tests.support.fleet_authority import ShortLivedAuthority

READY, DRAINING = agent_pb2.ENGINE_PHASE_READY, agent_pb2.ENGINE_PHASE_DRAINING


def _actions(session: Session) -> list[str]:
    return [each.action for each in session.exec(select(AuditEntry)) if each.action.startswith("agent.")]


async def test_a_drained_agent_stays_so_over_restarts_of_either_side_until_it_is_resumed(
    store: Store, authority: ShortLivedAuthority
) -> None:
    async with new_scripted_agent(authority) as agent:
        agent_id = await enrol(store, agent)
        agent.behaviour.engine.phase = READY
        async with running(new_fleet(store, authority)) as fleet:
            await eventually(lambda: fleet.status(agent_id) is not None)
            await fleet.set_drained(agent_id, "test", drained=True)
            await eventually(lambda: fleet.view.by_id[agent_id].drained)
            await eventually(lambda: agent.behaviour.engine.phase == DRAINING)
        # The agent takes calls again meanwhile, as it does after a deployment.
        agent.behaviour.engine.phase = READY
        async with running(new_fleet(store, authority)) as fleet:
            await eventually(lambda: agent.behaviour.engine.phase == DRAINING)
            await fleet.set_drained(agent_id, "test", drained=False)
            await eventually(lambda: agent.behaviour.engine.phase == READY)
            assert not fleet.view.by_id[agent_id].drained
    assert await store.read(_actions) == ["agent.drained", "agent.resumed"]


async def test_a_drained_agent_that_cannot_be_reached_is_left_out_all_the_same(
    store: Store, authority: ShortLivedAuthority
) -> None:
    async with new_scripted_agent(authority) as agent:
        agent_id = await enrol(store, agent)
    async with running(new_fleet(store, authority)) as fleet:
        await fleet.set_drained(agent_id, "test", drained=True)
        await eventually(lambda: agent_id in fleet.view.by_id and fleet.view.by_id[agent_id].drained)


async def test_pausing_pool_work_drains_nothing_and_is_noted_once(
    store: Store, authority: ShortLivedAuthority
) -> None:
    async with new_scripted_agent(authority) as agent, running(new_fleet(store, authority)) as fleet:
        agent_id = await enrol(store, agent)
        for _ in range(2):
            await fleet.set_pool_paused(agent_id, "test", paused=True)
        await eventually(lambda: agent_id in fleet.view.by_id and fleet.view.by_id[agent_id].pool_paused)
        assert not fleet.view.by_id[agent_id].drained
        await fleet.set_pool_paused(agent_id, "test", paused=False)
        await eventually(lambda: not fleet.view.by_id[agent_id].pool_paused)
        assert "Drain" not in agent.calls
    assert await store.read(_actions) == ["agent.pool_paused", "agent.pool_resumed"]


async def test_an_agent_that_is_unknown_or_revoked_is_refused(
    store: Store, authority: ShortLivedAuthority
) -> None:
    fleet = new_fleet(store, authority)
    with pytest.raises(Unknown):
        await fleet.set_drained(AgentId("agt-none"), "test", drained=True)
    async with new_scripted_agent(authority) as agent:
        agent_id = await enrol(store, agent)
    await orders.revoke(store, agent_id, "test")
    with pytest.raises(Invalid, match="enrol the host again"):
        await fleet.set_pool_paused(agent_id, "test", paused=True)
