"""The API's reads of the store."""

from sqlmodel import Session, col, or_, select

from control_plane.access import Duplicate, Unknown
from control_plane.store.tables import Agent, ApiKey, Attempt, Call, Tenant

MAX_CALLS = 500


def list_agents(session: Session, tenant_id: str | None, *, revoked: bool) -> list[tuple[Agent, str]]:
    """With their tenants' names; `revoked`: those too."""
    query = (
        select(Agent, Tenant.name)
        .join(Tenant, col(Tenant.id) == col(Agent.tenant_id))
        .order_by(col(Tenant.name), col(Agent.name))
    )
    if tenant_id is not None:
        query = query.where(Agent.tenant_id == tenant_id)
    if not revoked:
        query = query.where(col(Agent.revoked_unix_ms).is_(None))
    return [(agent, name) for agent, name in session.exec(query)]


def find_agent(session: Session, id_or_name: str) -> tuple[Agent, str]:
    """With its tenant's name. Raises Unknown, or Duplicate where two tenants have an agent of that name."""
    query = (
        select(Agent, Tenant.name)
        .join(Tenant, col(Tenant.id) == col(Agent.tenant_id))
        .where(or_(col(Agent.id) == id_or_name, col(Agent.name) == id_or_name))
        .limit(2)
    )
    found = [(agent, name) for agent, name in session.exec(query)]
    if not found:
        raise Unknown("agent", id_or_name)
    for agent, name in found:
        if agent.id == id_or_name:
            return agent, name
    if len(found) > 1:
        raise Duplicate(f"several tenants have an agent {id_or_name!r}: use its id (`daalu agents list`)")
    return found[0]


def list_calls(
    session: Session, *, tenant_id: str | None, before: str | None, limit: int
) -> list[tuple[Call, str, str | None]]:
    """The newest first, with tenants' and agents' names. `before`: only calls older than that id's."""
    query = (
        select(Call, Tenant.name, Agent.name)
        .join(Tenant, col(Tenant.id) == col(Call.tenant_id))
        .join(Agent, col(Agent.id) == col(Call.agent_id), isouter=True)
        # Ids sort by the time of their creation.
        .order_by(col(Call.id).desc())
        .limit(limit)
    )
    if tenant_id is not None:
        query = query.where(Call.tenant_id == tenant_id)
    if before is not None:
        query = query.where(col(Call.id) < before)
    return [(call, tenant, agent) for call, tenant, agent in session.exec(query)]


def find_call(session: Session, call_id: str) -> tuple[Call, str, str | None, ApiKey | None]:
    """With its tenant's and agent's name, and its key. Raises Unknown."""
    query = (
        select(Call, Tenant.name, Agent.name, ApiKey)
        .join(Tenant, col(Tenant.id) == col(Call.tenant_id))
        .join(Agent, col(Agent.id) == col(Call.agent_id), isouter=True)
        .join(ApiKey, col(ApiKey.id) == col(Call.api_key_id), isouter=True)
        .where(Call.id == call_id)
    )
    found = session.exec(query).first()
    if found is None:
        raise Unknown("call", call_id)
    call, tenant, agent, key = found
    return call, tenant, agent, key


def attempts_of(session: Session, call_id: str) -> list[tuple[Attempt, str | None]]:
    """In order, with the agents' names; None for a vendor."""
    query = (
        select(Attempt, Agent.name)
        .join(Agent, col(Agent.id) == col(Attempt.agent_id), isouter=True)
        .where(Attempt.call_id == call_id)
        .order_by(col(Attempt.number))
    )
    return [(attempt, name) for attempt, name in session.exec(query)]
