"""Links to agents over real gRPC with mutual TLS: agents that come, go, return, and are not who they say."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from daalu_wire.v1 import agent_pb2

from control_plane.enrolment import Authority
from control_plane.fleet import AgentStatus, FleetView, Liveness, revoke
from control_plane.store import Store
from control_plane.store.tables import Connection
from tests.support.fleet import enrol, eventually, new_fleet, new_scripted_agent, running
from tests.support.fleet_agent import ScriptedEngine
from tests.support.fleet_authority import ShortLivedAuthority


def _live(view: FleetView) -> set[str]:
    return {agent_id for agent_id, agent in view.by_id.items() if agent.liveness is Liveness.LIVE}


def _problem(status: AgentStatus | None, part: str) -> str:
    return status.problems.get(part, "") if status else ""


async def test_ten_agents_come_and_go(store: Store, authority: ShortLivedAuthority) -> None:
    agents = [new_scripted_agent(authority, f"127.0.1.{number}") for number in range(1, 11)]
    async with AsyncExitStack() as stack:
        for agent in agents:
            await stack.enter_async_context(agent)
        fleet = await stack.enter_async_context(running(new_fleet(store, authority)))
        ids = [await enrol(store, agent) for agent in agents]
        await eventually(lambda: _live(fleet.view) == set(ids))
        await revoke(store, ids[0], "test")
        await eventually(lambda: _live(fleet.view) == set(ids[1:]))
        assert fleet.status(ids[0]) is None


async def test_ticket_keys_are_installed_before_the_first_sample_is_asked_for(
    store: Store, authority: ShortLivedAuthority
) -> None:
    async with new_scripted_agent(authority) as agent, running(new_fleet(store, authority)) as fleet:
        agent_id = await enrol(store, agent)
        await eventually(lambda: _live(fleet.view) == {agent_id})
        assert agent.calls[:3] == ["GetInventory", "InstallTicketKeys", "StreamTelemetry"]
        key = fleet.ticket_key(agent_id)
        assert agent.ticket_keys == {1: key.key}


async def test_a_rotated_ticket_key_is_used_once_the_agent_has_it(
    store: Store, authority: ShortLivedAuthority
) -> None:
    async with new_scripted_agent(authority) as agent, running(new_fleet(store, authority)) as fleet:
        agent_id = await enrol(store, agent)
        await eventually(lambda: _live(fleet.view) == {agent_id})
        first = fleet.ticket_key(agent_id)
        assert await fleet.rotate_ticket_key(agent_id, "test") == 2
        await eventually(lambda: fleet.ticket_key(agent_id).id == 2)
        assert agent.ticket_keys == {1: first.key, 2: fleet.ticket_key(agent_id).key}


async def test_a_restarted_agent_is_connected_to_again(store: Store, authority: ShortLivedAuthority) -> None:
    async with new_scripted_agent(authority) as agent, running(new_fleet(store, authority)) as fleet:
        agent_id = await enrol(store, agent)
        await eventually(lambda: _live(fleet.view) == {agent_id})
        await agent.stop()
        await eventually(lambda: _problem(fleet.status(agent_id), "connection") != "")
        agent.ticket_keys.clear()
        await agent.start()
        await eventually(lambda: _problem(fleet.status(agent_id), "connection") == "")
        assert 1 in agent.ticket_keys


async def test_an_agent_that_is_not_there_is_never_live_and_says_why(
    store: Store, authority: ShortLivedAuthority
) -> None:
    agent = new_scripted_agent(authority)
    await agent.start()
    await agent.stop()
    async with running(new_fleet(store, authority)) as fleet:
        agent_id = await enrol(store, agent)
        await eventually(lambda: bool((status := fleet.status(agent_id)) and status.problems))
        status = fleet.status(agent_id)
        assert status is not None
        assert status.liveness is Liveness.NEVER
        assert "refused" in status.problems["connection"].lower()


async def test_another_agents_certificate_at_this_agents_address_is_refused(
    store: Store, authority: ShortLivedAuthority
) -> None:
    honest, impostor = new_scripted_agent(authority), new_scripted_agent(authority)
    await honest.start()
    await honest.stop()
    impostor.port = honest.port
    async with impostor, running(new_fleet(store, authority)) as fleet:
        agent_id = await enrol(store, honest)
        await eventually(lambda: bool((status := fleet.status(agent_id)) and status.problems))
        status = fleet.status(agent_id)
        assert status is not None
        assert "another key" in status.problems["connection"]
        assert status.liveness is Liveness.NEVER
        assert impostor.calls == []


async def test_a_certificate_of_another_authority_is_refused(
    store: Store, authority: ShortLivedAuthority
) -> None:
    stranger = ShortLivedAuthority()
    async with new_scripted_agent(stranger) as agent, running(new_fleet(store, authority)) as fleet:
        agent_id = await enrol(store, agent)
        await eventually(lambda: bool((status := fleet.status(agent_id)) and status.problems))
        assert agent.calls == []
        assert _live(fleet.view) == set()


async def test_a_ready_engine_must_answer_a_probe_before_calls_go_there(
    store: Store, authority: ShortLivedAuthority
) -> None:
    async with new_scripted_agent(authority) as agent, ScriptedEngine(agent, "127.0.0.1") as engine:
        agent.behaviour.engine = agent_pb2.EngineSample(
            phase=agent_pb2.ENGINE_PHASE_READY,
            model=agent_pb2.CatalogueReference(model_id="tiny", digest="0"),
            served_name="tiny",
        )
        engine.status = 503
        async with running(new_fleet(store, authority)) as fleet:
            agent_id = await enrol(store, agent, engine_port=engine.port)
            await eventually(lambda: "503" in _problem(fleet.status(agent_id), "probe"))
            assert fleet.view.by_id[agent_id].liveness is Liveness.NEVER
            engine.status = 200
            await eventually(lambda: fleet.view.by_id[agent_id].liveness is Liveness.LIVE)
            assert {ticket["t"] for ticket in engine.tickets} == {"probe"}
            assert len({ticket["a"] for ticket in engine.tickets}) == len(engine.tickets)


async def test_a_revoked_agent_is_lost_within_a_second_and_its_connection_closed(
    store: Store, authority: ShortLivedAuthority
) -> None:
    lost: list[tuple[str, str]] = []
    async with new_scripted_agent(authority) as agent, running(new_fleet(store, authority)) as fleet:
        fleet.on_lost(lambda agent_id, reason: lost.append((agent_id, reason)))
        agent_id = await enrol(store, agent)
        await eventually(lambda: _live(fleet.view) == {agent_id})
        await revoke(store, agent_id, "test")
        await eventually(lambda: lost == [(agent_id, "revoked")], within_s=1.0)
        assert agent_id not in fleet.view.by_id
        calls = len(agent.calls)
        await agent.stop()
        await agent.start()
        await asyncio.sleep(1.0)  # longer than the first waits of a link that would come back
        assert len(agent.calls) == calls


async def test_a_silent_agent_is_out_after_15_s_and_back_by_itself(
    store: Store, authority: ShortLivedAuthority
) -> None:
    lost: list[str] = []
    async with new_scripted_agent(authority) as agent, running(new_fleet(store, authority)) as fleet:
        fleet.on_lost(lambda _, reason: lost.append(reason))
        agent_id = await enrol(store, agent)
        await eventually(lambda: _live(fleet.view) == {agent_id})
        agent.behaviour.silent = True
        await eventually(lambda: fleet.view.by_id[agent_id].liveness is Liveness.SUSPECT, within_s=11.0)
        assert not lost
        await eventually(lambda: fleet.view.by_id[agent_id].liveness is Liveness.OUT, within_s=5.5)
        assert lost == ["out: silent for 15 s"]
        agent.behaviour.silent = False
        await eventually(lambda: fleet.view.by_id[agent_id].liveness is Liveness.LIVE)


async def test_an_agent_without_a_tunnel_is_not_dialled_unless_that_is_allowed(
    store: Store, authority: ShortLivedAuthority
) -> None:
    async with new_scripted_agent(authority) as agent, running(new_fleet(store, authority)) as fleet:
        agent_id = await enrol(store, agent, connection=Connection.DIRECT)
        await eventually(lambda: "--allow-direct" in _problem(fleet.status(agent_id), "connection"))
        assert agent.calls == []


async def test_the_products_own_authority_opens_a_link_over_ipv6(store: Store, tmp_path: Path) -> None:
    authority = Authority.create(tmp_path / "authority")
    async with new_scripted_agent(authority, "::1") as agent, running(new_fleet(store, authority)) as fleet:
        agent_id = await enrol(store, agent)
        await eventually(lambda: _live(fleet.view) == {agent_id})


async def test_an_agent_that_goes_on_showing_an_expired_certificate_is_sent_one_only(
    store: Store, authority: ShortLivedAuthority
) -> None:
    async with new_scripted_agent(authority) as agent, running(new_fleet(store, authority)) as fleet:
        agent_id = await enrol(store, agent)
        await agent.stop()
        agent.show_self_signed()
        await agent.start()
        await eventually(lambda: "not renewed again" in _problem(fleet.status(agent_id), "connection"))
        assert agent.calls.count("RenewCertificate") == 1
