"""The API's reads of the store."""

from dataclasses import dataclass
from typing import Any

from sqlmodel import Session, col, or_, select

from control_plane.access import Duplicate, Unknown
from control_plane.economy import Span, calls_within
from control_plane.store.economy_tables import Pool, UsageRecord
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


@dataclass(frozen=True, slots=True)
class CallRow:
    """A call with the names of what it refers to. `usage`: what it used and cost, once it is settled."""

    call: Call
    tenant_name: str
    agent_name: str | None
    usage: UsageRecord | None
    pool_name: str | None


@dataclass(frozen=True, slots=True)
class CallSearch:
    """Which calls; None: any. `model` is what the client asked for, `id_starts` the beginning of an id."""

    tenant_id: str | None = None
    span: Span | None = None
    model: str | None = None
    api_key_id: str | None = None
    tier: str | None = None
    outcome: str | None = None
    http_status: int | None = None
    id_starts: str | None = None


def list_calls(session: Session, search: CallSearch, *, before: str | None, limit: int) -> list[CallRow]:
    """The newest first. `before`: only calls older than that id's."""
    query = (
        _call_rows()
        # Ids sort by the time of their creation.
        .order_by(col(Call.id).desc())
        .limit(limit)
    )
    wanted = {
        col(Call.tenant_id): search.tenant_id,
        col(Call.model): search.model,
        col(Call.api_key_id): search.api_key_id,
        col(Call.tier): search.tier,
        col(Call.outcome): search.outcome,
        col(Call.http_status): search.http_status,
    }
    for column, value in wanted.items():
        if value is not None:
            query = query.where(column == value)
    if search.span is not None:
        query = query.where(*calls_within(search.span, search.tenant_id))
    if search.id_starts is not None:
        query = query.where(col(Call.id).startswith(search.id_starts, autoescape=True))
    if before is not None:
        query = query.where(col(Call.id) < before)
    return [CallRow(*row) for row in session.exec(query)]


def find_call(
    session: Session, call_id: str, *, tenant_id: str | None = None
) -> tuple[CallRow, ApiKey | None]:
    """With its key. Raises Unknown, and with a tenant also for another's call."""
    query = _call_rows().where(Call.id == call_id)
    if tenant_id is not None:
        query = query.where(Call.tenant_id == tenant_id)
    found = session.exec(query).first()
    if found is None:
        raise Unknown("call", call_id)
    row = CallRow(*found)
    return row, session.get(ApiKey, row.call.api_key_id)


def _call_rows() -> Any:
    return (
        select(Call, Tenant.name, Agent.name, UsageRecord, Pool.name)  # type: ignore[call-overload]  # five
        .join(Tenant, col(Tenant.id) == col(Call.tenant_id))
        .join(Agent, col(Agent.id) == col(Call.agent_id), isouter=True)
        .join(UsageRecord, col(UsageRecord.call_id) == col(Call.id), isouter=True)
        .join(Pool, col(Pool.id) == col(UsageRecord.pool_id), isouter=True)
    )


def attempts_of(session: Session, call_id: str) -> list[tuple[Attempt, str | None]]:
    """In order, with the agents' names; None for a vendor."""
    query = (
        select(Attempt, Agent.name)
        .join(Agent, col(Agent.id) == col(Attempt.agent_id), isouter=True)
        .where(Attempt.call_id == call_id)
        .order_by(col(Attempt.number))
    )
    return [(attempt, name) for attempt, name in session.exec(query)]
