"""The fleet's reads of the store."""

from collections.abc import Collection

from sqlmodel import Session, col, select

from control_plane.fleet.facts import LOOPBACK, AgentFacts, Desired
from control_plane.fleet.pool_hours import Window
from control_plane.fleet.pool_limits import PoolLimits
from control_plane.identifiers import AgentId, TenantId
from control_plane.store.tables import Agent, Connection, Deployment

# Databases limit how many values one statement may carry.
_MAX_IDS = 500


def enrolled_agents(session: Session, ids: Collection[str] | None = None) -> list[AgentFacts]:
    """Every agent that is enrolled and not revoked; with `ids`, only those among them."""
    statement = (
        select(Agent, Deployment)
        .join(Deployment, col(Deployment.agent_id) == col(Agent.id), isouter=True)
        .where(col(Agent.revoked_unix_ms).is_(None))
    )
    if ids is not None and len(ids) <= _MAX_IDS:
        statement = statement.where(col(Agent.id).in_(ids))
    return [_facts(agent, deployment) for agent, deployment in session.exec(statement)]


def receipts_acknowledged(session: Session, agent_id: str) -> int:
    """The sequence number up to which this agent's receipts are stored."""
    statement = select(Agent.receipts_acknowledged).where(col(Agent.id) == agent_id)
    return session.exec(statement).first() or 0


def _facts(agent: Agent, deployment: Deployment | None) -> AgentFacts:
    connection = Connection(agent.connection)
    return AgentFacts(
        agent_id=AgentId(agent.id),
        tenant_id=TenantId(agent.tenant_id),
        name=agent.name,
        connection=connection,
        host=LOOPBACK if connection is Connection.DIRECT else (agent.tunnel_address or ""),
        rpc_port=agent.rpc_port,
        engine_port=agent.engine_port,
        tls_key_sha256=agent.tls_key_sha256,
        certificate_pem=agent.certificate_pem,
        certificate_expires_unix_ms=agent.certificate_expires_unix_ms,
        ticket_key_generation=agent.ticket_key_generation,
        desired=Desired(deployment.model_id or None, deployment.changed_unix_ms)
        if deployment
        else Desired(None, 0),
        drained=agent.drained,
        pool_paused=agent.pool_paused,
        pool_limits=pool_limits_of(agent),
    )


def pool_limits_of(agent: Agent) -> PoolLimits:
    return PoolLimits(
        hours=tuple(Window.parse(line) for line in (agent.pool_hours or "").splitlines()),
        zone=agent.pool_zone,
        max_celsius=agent.pool_max_celsius,
        max_watts=agent.pool_max_watts,
    )
