"""Drained and paused are wishes: in the view at once, whether or not the agent can be reached."""

from datetime import UTC, datetime

import pytest
from daalu_wire.v1 import agent_pb2
from sqlmodel import Session, select

from control_plane.access import Invalid, Unknown
from control_plane.fleet import LimitKind, PoolLimits, Window, orders
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


async def test_pausing_pool_work_holds_at_the_gate_until_it_is_resumed_over_restarts_of_either_side(
    store: Store, authority: ShortLivedAuthority
) -> None:
    async with new_scripted_agent(authority) as agent:
        agent_id = await enrol(store, agent)
        async with running(new_fleet(store, authority)) as fleet:
            await fleet.set_pool_paused(agent_id, "test", paused=True)
            await eventually(lambda: agent.behaviour.engine.pool_refused)
        # Its host was set up anew meanwhile.
        agent.behaviour.engine.pool_refused = False
        async with running(new_fleet(store, authority)) as fleet:
            await eventually(lambda: agent.behaviour.engine.pool_refused)
            await fleet.set_pool_paused(agent_id, "test", paused=False)
            await eventually(lambda: not agent.behaviour.engine.pool_refused)


async def test_a_limit_closes_router_and_gate_for_pools_and_its_end_opens_both(
    store: Store, authority: ShortLivedAuthority
) -> None:
    async with new_scripted_agent(authority) as agent, running(new_fleet(store, authority)) as fleet:
        card = agent_pb2.CardSample(uuid="GPU-1")
        card.temperature_celsius.value = 70
        agent.behaviour.card_samples = [card]
        agent_id = await enrol(store, agent)

        def kind() -> LimitKind | None:
            view = fleet.view.by_id.get(agent_id)
            return view.pool_closed.kind if view and view.pool_closed else None

        await fleet.set_pool_limits(agent_id, lambda _: PoolLimits(max_celsius=60), "test")
        await eventually(lambda: kind() is LimitKind.TEMPERATURE and agent.behaviour.engine.pool_refused)
        status = fleet.status(agent_id)
        assert status is not None
        assert status.pool_closed is not None
        # A higher limit is in force at once: it does not wait for the card to cool down.
        await fleet.set_pool_limits(agent_id, lambda _: PoolLimits(max_celsius=75), "test")
        await eventually(lambda: kind() is None and not agent.behaviour.engine.pool_refused)
        hot = agent_pb2.CardSample(uuid="GPU-1")
        hot.temperature_celsius.value = 76
        agent.behaviour.card_samples = [hot]
        await eventually(lambda: kind() is LimitKind.TEMPERATURE and agent.behaviour.engine.pool_refused)
        assert "Drain" not in agent.calls
        never = PoolLimits((Window.parse(_an_hour_that_is_not_now()),), "UTC")
        await fleet.set_pool_limits(agent_id, lambda _: never, "test")
        await eventually(lambda: kind() is LimitKind.HOURS)
        await fleet.set_pool_limits(agent_id, lambda _: PoolLimits(), "test")
        await eventually(lambda: kind() is None and not agent.behaviour.engine.pool_refused)
    expected = ["agent.pool_limits_set"] * 3 + ["agent.pool_limits_cleared"]
    assert await store.read(_actions) == expected


def _an_hour_that_is_not_now() -> str:
    hour = (datetime.now(UTC).hour + 6) % 24
    return f"daily {hour:02}:00-{hour + 1:02}:00"


async def test_a_critical_card_refuses_pool_calls_at_the_gate_until_the_evidence_is_gone(
    store: Store, authority: ShortLivedAuthority
) -> None:
    async with new_scripted_agent(authority) as agent, running(new_fleet(store, authority)):
        lost = agent_pb2.CardSample(uuid="GPU-1", lost="GPU is lost")
        agent.behaviour.card_samples = [lost]
        await enrol(store, agent)
        await eventually(lambda: agent.behaviour.engine.pool_refused)
        well = agent_pb2.CardSample(uuid="GPU-1")
        well.temperature_celsius.value = 60
        agent.behaviour.card_samples = [well]
        await eventually(lambda: not agent.behaviour.engine.pool_refused)
        assert "Drain" not in agent.calls


async def test_limits_that_cannot_be_kept_change_nothing(
    store: Store, authority: ShortLivedAuthority
) -> None:
    fleet = new_fleet(store, authority)
    async with new_scripted_agent(authority) as agent:
        agent_id = await enrol(store, agent)
    await fleet.set_pool_limits(agent_id, lambda _: PoolLimits(max_watts=90), "test")
    window = (Window.parse("daily 00:00-24:00"),)
    with pytest.raises(Invalid, match="'Nowhere/City'"):
        await fleet.set_pool_limits(agent_id, lambda _: PoolLimits(window, "Nowhere/City"), "test")
    with pytest.raises(Invalid, match="max_celsius 500"):
        await fleet.set_pool_limits(agent_id, lambda _: PoolLimits(max_celsius=500), "test")
    seen: list[PoolLimits] = []

    def look(limits: PoolLimits) -> PoolLimits:
        seen.append(limits)
        return limits

    await fleet.set_pool_limits(agent_id, look, "test")
    assert seen == [PoolLimits(max_watts=90)]
    assert await store.read(_actions) == ["agent.pool_limits_set"]


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
