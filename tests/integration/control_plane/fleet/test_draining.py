"""Drained and paused are wishes: in the view at once, whether or not the agent can be reached."""

import pytest
from sqlmodel import Session, select

from control_plane.access import Invalid, Unknown
from control_plane.fleet import orders
from control_plane.identifiers import AgentId
from control_plane.store import Store
from control_plane.store.tables import Audit
from tests.support.fleet import enrol, eventually, new_fleet, new_scripted_agent, running
from tests.support.fleet_authority import ShortLivedAuthority


def _actions(session: Session) -> list[str]:
    return [each.action for each in session.exec(select(Audit)) if each.action.startswith("agent.")]


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
