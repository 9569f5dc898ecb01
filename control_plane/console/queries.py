"""The pages' reads of the store. The tenant is part of every one of them."""

from dataclasses import dataclass

from sqlmodel import Session, col, select

from control_plane.access import Unknown
from control_plane.identifiers import AgentId, TenantId
from control_plane.store.economy_tables import (
    Contribution,
    Pool,
    PoolKind,
)
from control_plane.store.tables import Agent, Call, CallOutcome, Deployment, Invite


def agents_of(session: Session, tenant_id: TenantId) -> list[Agent]:
    query = select(Agent).where(Agent.tenant_id == tenant_id, col(Agent.revoked_unix_ms).is_(None))
    return list(session.exec(query.order_by(col(Agent.name))))


def agent_of(session: Session, tenant_id: TenantId, agent_id: str) -> Agent:
    """Raises Unknown, also of another tenant's."""
    query = select(Agent).where(
        Agent.tenant_id == tenant_id, Agent.id == agent_id, col(Agent.revoked_unix_ms).is_(None)
    )
    found = session.exec(query).first()
    if found is None:
        raise Unknown("agent", agent_id)
    return found


def lent_to(session: Session, tenant_id: TenantId, agent_id: AgentId) -> str | None:
    """The pool that it is lent to, by name."""
    query = (
        select(Pool.name)
        .join(Contribution, col(Contribution.pool_id) == col(Pool.id))
        .where(
            Contribution.tenant_id == tenant_id,
            Contribution.agent_id == agent_id,
            col(Contribution.withdrawn_unix_ms).is_(None),
        )
    )
    return session.exec(query).first()


def desired_model(session: Session, tenant_id: TenantId, agent_id: AgentId) -> str | None:
    """The model that it is wanted to serve, by id."""
    query = (
        select(Deployment.model_id)
        .join(Agent, col(Agent.id) == col(Deployment.agent_id))
        .where(Agent.tenant_id == tenant_id, Deployment.agent_id == agent_id)
    )
    return session.exec(query).first() or None


def provider_pools(session: Session) -> list[str]:
    """Those that a tenant may lend a card to, by name."""
    query = select(Pool.name).where(Pool.kind == PoolKind.PROVIDER).order_by(col(Pool.name))
    return list(session.exec(query))


@dataclass(frozen=True, slots=True)
class Invited:
    """The newest invite of a tenant, and how far it came."""

    created_unix_ms: int
    expires_unix_ms: int
    claimed_unix_ms: int | None
    agent_id: str | None


def newest_invite(session: Session, tenant_id: TenantId) -> Invited | None:
    query = select(Invite).where(Invite.tenant_id == tenant_id).order_by(col(Invite.created_unix_ms).desc())
    row = session.exec(query).first()
    if row is None:
        return None
    return Invited(row.created_unix_ms, row.expires_unix_ms, row.claimed_unix_ms, row.agent_id)


def has_served(session: Session, tenant_id: TenantId, agent_id: AgentId) -> bool:
    """Whether a call of the tenant was answered by this agent."""
    query = select(Call.id).where(
        Call.tenant_id == tenant_id, Call.agent_id == agent_id, Call.outcome == CallOutcome.COMPLETE
    )
    return session.exec(query.limit(1)).first() is not None
