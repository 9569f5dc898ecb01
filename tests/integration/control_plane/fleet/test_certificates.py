"""Certificates of agents: renewed while good, recovered when expired, refused to others."""

import asyncio
from datetime import timedelta

from sqlmodel import select

from control_plane.fleet import AgentStatus, Liveness
from control_plane.store import Store
from control_plane.store.tables import Agent, Audit
from tests.support.fleet import enrol, eventually, new_fleet, new_scripted_agent, running
from tests.support.fleet_authority import ShortLivedAuthority, new_key


def _problem(status: AgentStatus | None, part: str) -> str:
    return status.problems.get(part, "") if status else ""


def _stored_certificate(store: Store) -> str:
    with store.reading() as session:
        return session.exec(select(Agent.certificate_pem)).one()


def _audited(store: Store) -> list[str]:
    with store.reading() as session:
        return list(session.exec(select(Audit.action)))


async def test_a_certificate_is_renewed_at_half_of_its_life(
    store: Store, authority: ShortLivedAuthority
) -> None:
    authority.agent_life = timedelta(seconds=4)
    async with new_scripted_agent(authority) as agent:
        first = agent.certificate_pem
        authority.agent_life = timedelta(days=7)
        async with running(new_fleet(store, authority)):
            await enrol(store, agent)
            await eventually(lambda: _stored_certificate(store) != first)
            assert _stored_certificate(store) == agent.certificate_pem
            assert _audited(store) == ["certificate.renewed"]
            assert agent.calls.count("RenewCertificate") == 1


async def test_an_agent_whose_certificate_expired_is_renewed_and_nothing_else_until_then(
    store: Store, authority: ShortLivedAuthority
) -> None:
    authority.agent_life = timedelta(seconds=1)
    agent = new_scripted_agent(authority)
    authority.agent_life = timedelta(days=7)
    # The real server takes its new certificate without a restart; here one stands in for that.
    async with agent:
        await asyncio.sleep(1.1)  # the certificate's whole life
        await agent.stop()
        expired = agent.certificate_pem
        agent.show_self_signed()
        await agent.start()
        async with running(new_fleet(store, authority)) as fleet:
            agent_id = await enrol(store, agent)
            await eventually(lambda: _stored_certificate(store) != expired and authority.signed[1:] != [])
            await eventually(lambda: "was renewed" in _problem(fleet.status(agent_id), "connection"))
            assert set(agent.calls) == {"RenewCertificate"}
            await agent.stop()
            await agent.start()
            await eventually(lambda: fleet.view.by_id[agent_id].liveness is Liveness.LIVE)
            status = fleet.status(agent_id)
            assert status is not None
            assert status.problems == {}


async def test_a_host_with_another_key_gets_no_certificate(
    store: Store, authority: ShortLivedAuthority
) -> None:
    async with new_scripted_agent(authority) as agent, running(new_fleet(store, authority)) as fleet:
        signed = len(authority.signed)
        agent_id = await enrol(store, agent)
        await agent.stop()
        agent.key = new_key()
        agent.show_self_signed()
        await agent.start()
        await eventually(lambda: "another key" in _problem(fleet.status(agent_id), "connection"))
        assert len(authority.signed) == signed
        assert "RenewCertificate" not in agent.calls


async def test_a_request_for_another_key_is_refused_and_audited(
    store: Store, authority: ShortLivedAuthority
) -> None:
    authority.agent_life = timedelta(seconds=3)
    async with new_scripted_agent(authority) as agent, running(new_fleet(store, authority)) as fleet:
        signed = len(authority.signed)
        agent.behaviour.renewal_key = new_key()
        agent_id = await enrol(store, agent)
        await eventually(lambda: "another key" in _problem(fleet.status(agent_id), "renewal"))
        assert _audited(store) == ["certificate.refused"]
        assert len(authority.signed) == signed
        assert _stored_certificate(store) == agent.certificate_pem
