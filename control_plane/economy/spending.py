"""What calls used and cost, summed by tenant, tier, model, key and day."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Integer, and_, case, func, literal_column, null
from sqlmodel import Session, col, select

from control_plane.access import Invalid
from control_plane.economy.span import DAY_MS, Span, day_text
from control_plane.store.economy_tables import LedgerTransaction, TransactionKind, UsageRecord
from control_plane.store.tables import ApiKey, Call, Tenant

MOST_ROWS = 10_000


class Group(StrEnum):
    TENANT = "tenant"
    TIER = "tier"
    MODEL = "model"
    KEY = "key"
    DAY = "day"  # UTC


@dataclass(frozen=True, slots=True)
class Spend:
    """One group's sums; what it was not grouped by is None.

    What a tenant owes is the charge less what was reversed of it.
    """

    tenant_id: str | None
    tier: str | None
    model: str | None
    api_key_id: str | None
    key_name: str | None
    day: str | None
    calls: int
    prompt_tokens: int
    cached_prompt_tokens: int
    completion_tokens: int
    charge_pico_usd: int
    reversed_pico_usd: int


def spending(
    session: Session, span: Span, by: Collection[Group], *, tenant_id: str | None = None
) -> list[Spend]:
    """Of the settled calls that came in within `span`, by when they came in.

    Raises Invalid where the answer has more than MOST_ROWS rows.
    """
    # A literal: the parameter of SELECT and that of GROUP BY would be two expressions to PostgreSQL.
    day = col(Call.started_unix_ms) // literal_column(str(DAY_MS), Integer)
    columns = {
        Group.TENANT: col(UsageRecord.tenant_id),
        Group.TIER: col(UsageRecord.tier),
        Group.MODEL: col(UsageRecord.model),
        Group.KEY: col(UsageRecord.api_key_id),
        Group.DAY: day,
    }
    keys = [column for group, column in columns.items() if group in by]
    query = (
        select(  # type: ignore[call-overload]  # more columns than the overloads have
            *(column if group in by else null() for group, column in columns.items()),
            func.count(),
            func.sum(UsageRecord.prompt_tokens),
            func.sum(UsageRecord.cached_prompt_tokens),
            func.sum(UsageRecord.completion_tokens),
            func.sum(UsageRecord.charge_pico_usd),
            func.sum(case((col(LedgerTransaction.id).is_not(None), UsageRecord.charge_pico_usd), else_=0)),
        )
        .select_from(Call)
        .join(UsageRecord, col(UsageRecord.call_id) == col(Call.id))
        .join(
            LedgerTransaction,
            is_reversal_of(col(Call.id)),
            isouter=True,
        )
        .where(*calls_within(span, tenant_id))
        .group_by(*keys)
        .order_by(*keys)
        .limit(MOST_ROWS + 1)
    )
    rows = [row for row in session.exec(query) if row[5]]
    if len(rows) > MOST_ROWS:
        raise Invalid(f"the answer has more than {MOST_ROWS} rows: ask for fewer days or group by less")
    names = _key_names(session, tenant_id) if Group.KEY in by else {}
    return [
        Spend(
            tenant,
            tier,
            model,
            key,
            names.get(key),
            None if number is None else day_text(number),
            *(int(value) for value in sums),
        )
        for tenant, tier, model, key, number, *sums in rows
    ]


def calls_within(span: Span, tenant_id: str | None) -> tuple[Any, ...]:
    """Conditions on Call that its index by tenant and time answers, for one tenant and for all."""
    whose = col(Call.tenant_id)
    return (
        whose.in_(select(Tenant.id)) if tenant_id is None else whose == tenant_id,
        col(Call.started_unix_ms) >= span.since_unix_ms,
        col(Call.started_unix_ms) < span.until_unix_ms,
    )


def is_reversal_of(call_id: Any) -> Any:
    """A condition on LedgerTransaction; a call has at most one."""
    return and_(
        col(LedgerTransaction.call_id) == call_id,
        col(LedgerTransaction.kind) == TransactionKind.REVERSAL,
    )


def _key_names(session: Session, tenant_id: str | None) -> dict[str, str]:
    query = select(ApiKey.id, ApiKey.name)
    if tenant_id is not None:
        query = query.where(ApiKey.tenant_id == tenant_id)
    return dict(session.exec(query).all())
