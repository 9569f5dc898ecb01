"""The pages' reads of the store. The tenant is part of every one of them."""

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import func
from sqlmodel import Session, col, select

from control_plane.access import Unknown
from control_plane.identifiers import AgentId, TenantId
from control_plane.store.economy_tables import (
    Contribution,
    Plan,
    Pool,
    PoolKind,
    QuotaMonth,
    Subscription,
    UsageRecord,
)
from control_plane.store.tables import Agent, Call, CallOutcome, Deployment, Invite

HOUR_MS = 3_600_000
# The newest calls that latencies are worked out from.
MAX_CALLS = 5_000


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
class Served:
    """What a tenant's lent cards served for others in an hour, of one model; of all consumers together."""

    hour_unix_ms: int
    model: str
    calls: int
    tokens: int
    credit_pico_usd: int


def served_for_others(session: Session, tenant_id: TenantId, since_unix_ms: int) -> list[Served]:
    """The newest first."""
    hour = col(UsageRecord.settled_unix_ms) - col(UsageRecord.settled_unix_ms) % HOUR_MS
    tokens = col(UsageRecord.prompt_tokens) + col(UsageRecord.completion_tokens)
    query = (
        select(  # type: ignore[call-overload]  # more columns than the overloads have
            hour.label("hour"),
            UsageRecord.model,
            func.count(),
            func.sum(tokens),
            func.sum(UsageRecord.credit_pico_usd),
        )
        .where(
            UsageRecord.agent_tenant_id == tenant_id,
            UsageRecord.tenant_id != tenant_id,
            col(UsageRecord.settled_unix_ms) >= since_unix_ms,
        )
        .group_by("hour", col(UsageRecord.model))
        .order_by(hour.label("hour").desc(), col(UsageRecord.model))
    )
    return [Served(int(at), model, *map(int, sums)) for at, model, *sums in session.exec(query)]


@dataclass(frozen=True, slots=True)
class Quota:
    """A subscription, and what is left of it this month."""

    pool: str
    plan: str
    quota_tokens: int
    used_tokens: int
    held_tokens: int

    @property
    def left_tokens(self) -> int:
        return max(0, self.quota_tokens - self.used_tokens - self.held_tokens)


def quotas(session: Session, tenant_id: TenantId, month: str) -> list[Quota]:
    query = (
        select(Subscription, Pool, Plan)
        .join(Pool, col(Pool.id) == col(Subscription.pool_id))
        .join(Plan, col(Plan.id) == col(Subscription.plan_id))
        .where(Subscription.tenant_id == tenant_id, col(Subscription.ended_unix_ms).is_(None))
        .order_by(col(Pool.name))
    )
    found = []
    for _, pool, plan in session.exec(query):
        row = session.get(QuotaMonth, (tenant_id, pool.id, month))
        # A larger plan counts when the next hold is made; until then the month has what it had.
        granted = max(plan.monthly_tokens, row.quota_tokens) if row else plan.monthly_tokens
        used, held = (row.used_tokens, row.held_tokens) if row else (0, 0)
        found.append(Quota(pool.name, plan.name, granted, used, held))
    return found


@dataclass(frozen=True, slots=True)
class CallFigures:
    """Of a tenant's calls since a moment. Latencies are None where no call was answered."""

    calls: int
    prompt_tokens: int
    completion_tokens: int
    average_ms: float | None
    p95_ms: float | None
    # How many were refused, by the reason's code.
    refusals: dict[str, int]
    # More calls than were looked at.
    is_cut: bool


def call_figures(session: Session, tenant_id: TenantId, since_unix_ms: int) -> CallFigures:
    query = (
        select(Call)
        .where(Call.tenant_id == tenant_id, col(Call.started_unix_ms) >= since_unix_ms)
        .order_by(col(Call.started_unix_ms).desc())
        .limit(MAX_CALLS + 1)
    )
    rows = list(session.exec(query))
    calls = rows[:MAX_CALLS]
    lasted = sorted(
        call.duration_ms for call in calls if call.outcome == CallOutcome.COMPLETE and call.duration_ms
    )
    refused = Counter(call.error_code or "unknown" for call in calls if call.outcome == CallOutcome.REFUSED)
    return CallFigures(
        calls=len(calls),
        prompt_tokens=sum(call.prompt_tokens for call in calls),
        completion_tokens=sum(call.completion_tokens for call in calls),
        average_ms=sum(lasted) / len(lasted) if lasted else None,
        # The nearest rank: a duration that was measured.
        p95_ms=lasted[-(-95 * len(lasted) // 100) - 1] if lasted else None,
        refusals=dict(refused.most_common()),
        is_cut=len(rows) > MAX_CALLS,
    )


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
