"""A store with enrolled scripted agents, and a fleet that runs on it."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlmodel import Session

from control_plane.catalogue import Catalogue
from control_plane.fleet import CertificateAuthority, Fleet
from control_plane.identifiers import AgentId, new_agent_id, new_tenant_id
from control_plane.store import Store, announce, unix_ms
from control_plane.store.tables import Agent, ChangeKind, Connection, Tenant
from tests.support.fleet_agent import ScriptedAgent

TICKET_SECRET = b"0123456789abcdef0123456789abcdef"


async def eventually(condition: Callable[[], bool], *, within_s: float = 20.0) -> None:
    """Waits for a condition; fails with its source's name where it does not come."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"{condition.__qualname__} did not come within {within_s} s"
        await asyncio.sleep(0.01)


def new_scripted_agent(authority: CertificateAuthority, host: str = "127.0.0.1") -> ScriptedAgent:
    return ScriptedAgent(new_agent_id(), host, 0, authority)


async def enrol(
    store: Store, agent: ScriptedAgent, *, engine_port: int = 1, connection: Connection = Connection.TUNNEL
) -> AgentId:
    """Writes the row that enrolment would. The agent must have been started: its port is chosen then."""
    await store.write(lambda session: _enrol(session, agent, engine_port, connection))
    return AgentId(agent.agent_id)


def _enrol(session: Session, agent: ScriptedAgent, engine_port: int, connection: Connection) -> None:
    tenant_id = new_tenant_id()
    session.add(Tenant(id=tenant_id, name=tenant_id, created_unix_ms=unix_ms()))
    session.flush()
    session.add(agent_row(agent, tenant_id, engine_port=engine_port, connection=connection))
    announce(session, ChangeKind.AGENT, agent.agent_id)


def agent_row(
    agent: ScriptedAgent,
    tenant_id: str,
    *,
    name: str = "host",
    engine_port: int = 1,
    connection: Connection = Connection.TUNNEL,
) -> Agent:
    """The agent must have been started."""
    public = agent.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    certificate = x509.load_pem_x509_certificate(agent.certificate_pem.encode())
    return Agent(
        id=agent.agent_id,
        tenant_id=tenant_id,
        name=name,
        connection=connection,
        tunnel_address=agent.host if connection is Connection.TUNNEL else None,
        rpc_port=agent.port,
        engine_port=engine_port,
        wireguard_public_key=agent.agent_id,
        tls_key_sha256=hashlib.sha256(public).digest(),
        certificate_pem=agent.certificate_pem,
        certificate_expires_unix_ms=int(certificate.not_valid_after_utc.timestamp() * 1000),
        agent_version="0.1.0",
        created_unix_ms=unix_ms(),
    )


@asynccontextmanager
async def running(fleet: Fleet) -> AsyncIterator[Fleet]:
    task = asyncio.create_task(fleet.run())
    try:
        yield fleet
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def new_fleet(store: Store, authority: CertificateAuthority, catalogue: Catalogue | None = None) -> Fleet:
    return Fleet(store, authority, TICKET_SECRET, catalogue or Catalogue())
