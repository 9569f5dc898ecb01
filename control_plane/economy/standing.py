"""The month of a tenant in each pool that it may use, against its quota."""

from dataclasses import dataclass

from sqlmodel import Session, select

from control_plane.economy.months import month_bounds, month_of
from control_plane.economy.projection import project
from control_plane.economy.queries import Economy, tenant_of
from control_plane.identifiers import TenantId
from control_plane.store.economy_tables import QuotaMonth, Subscription
from control_plane.store.tables import Tenant


@dataclass(frozen=True, slots=True)
class QuotaStanding:
    """Tokens of the current month. `left_tokens` is what new calls can still hold: of the plan as it is now,
    since that is what a hold is judged by. `granted_tokens` is the most that the month was granted, which is
    more than the plan's quota where a larger plan went before it.

    `projected_tokens` None: too early to say. `runs_out_unix_ms` None: it lasts, is used up, or it is too
    early.
    """

    tenant_id: str
    pool_id: str
    pool_name: str
    plan_name: str
    month: str
    quota_tokens: int
    used_tokens: int
    held_tokens: int
    left_tokens: int
    resets_unix_ms: int
    projected_tokens: int | None
    runs_out_unix_ms: int | None
    granted_tokens: int
    # False: by the pool's default plan.
    subscribed: bool


def quota_standing(
    session: Session, tenant: Tenant, economy: Economy, *, now_unix_ms: int
) -> list[QuotaStanding]:
    """In each pool that `tenant` may use in `economy`: by a subscription, or by the pool's default plan."""
    month = month_of(now_unix_ms)
    starts, ends = month_bounds(month)
    rows = {
        row.pool_id: row
        for row in session.exec(
            select(QuotaMonth).where(QuotaMonth.tenant_id == tenant.id, QuotaMonth.month == month)
        )
    }
    # A right that began within the month is projected from there: earlier there was nothing to use.
    began: dict[str, int] = {}
    for row in session.exec(select(Subscription).where(Subscription.tenant_id == tenant.id)):
        began[row.pool_id] = min(row.created_unix_ms, began.get(row.pool_id, row.created_unix_ms))
    found = []
    for right in tenant_of(economy, TenantId(tenant.id)).rights:
        used = rows.get(right.pool_id)
        used_tokens = used.used_tokens if used is not None else 0
        held_tokens = used.held_tokens if used is not None else 0
        quota = right.plan.monthly_tokens
        since = (
            began.get(right.pool_id, tenant.created_unix_ms) if right.subscribed else tenant.created_unix_ms
        )
        projection = project(
            used_tokens,
            quota,
            seen_from_unix_ms=max(starts, since),
            now_unix_ms=now_unix_ms,
            ends_unix_ms=ends,
        )
        found.append(
            QuotaStanding(
                tenant.id,
                right.pool_id,
                economy.pools[right.pool_id].name,
                right.plan.name,
                month,
                quota,
                used_tokens,
                held_tokens,
                max(0, quota - used_tokens - held_tokens),
                ends,
                projection.tokens if projection is not None else None,
                projection.runs_out_unix_ms if projection is not None else None,
                max(quota, used.quota_tokens) if used is not None else quota,
                right.subscribed,
            )
        )
    return found
