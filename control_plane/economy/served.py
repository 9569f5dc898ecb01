"""What a provider's cards served for others, by hour and model; never for whom."""

from dataclasses import dataclass

from sqlalchemy import Integer, case, func, literal_column
from sqlmodel import Session, col, select

from control_plane.access import Invalid
from control_plane.economy.span import Span
from control_plane.economy.spending import MOST_ROWS, is_reversal_of
from control_plane.store.economy_tables import LedgerTransaction, UsageRecord
from control_plane.store.tables import Agent

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Served:
    """One card's calls of a model that were settled in an hour. What it earned is the credit less what was
    reversed of it."""

    tenant_id: str
    agent_id: str
    hour_unix_ms: int
    model: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    credit_pico_usd: int
    reversed_pico_usd: int


def served(session: Session, span: Span, *, tenant_id: str | None = None) -> list[Served]:
    """Of `tenant_id`'s cards, or of everybody's. Raises Invalid where that is more than MOST_ROWS rows."""
    hour = col(UsageRecord.settled_unix_ms) // literal_column(str(HOUR_MS), Integer)
    keys = (col(UsageRecord.agent_tenant_id), col(UsageRecord.agent_id), hour, col(UsageRecord.model))
    cards = select(Agent.id)
    if tenant_id is not None:
        cards = cards.where(Agent.tenant_id == tenant_id)
    query = (
        select(  # type: ignore[call-overload]  # more columns than the overloads have
            *keys,
            func.count(),
            func.sum(UsageRecord.prompt_tokens),
            func.sum(UsageRecord.completion_tokens),
            func.sum(UsageRecord.credit_pico_usd),
            func.sum(case((col(LedgerTransaction.id).is_not(None), UsageRecord.credit_pico_usd), else_=0)),
        )
        .select_from(UsageRecord)
        .join(
            LedgerTransaction,
            is_reversal_of(col(UsageRecord.call_id)),
            isouter=True,
        )
        .where(
            # By card and time: the index that there is.
            col(UsageRecord.agent_id).in_(cards),
            col(UsageRecord.settled_unix_ms) >= span.since_unix_ms,
            col(UsageRecord.settled_unix_ms) < span.until_unix_ms,
            col(UsageRecord.agent_tenant_id) != col(UsageRecord.tenant_id),
        )
        .group_by(*keys)
        .order_by(*keys)
        .limit(MOST_ROWS + 1)
    )
    rows = session.exec(query).all()
    if len(rows) > MOST_ROWS:
        raise Invalid(f"the answer has more than {MOST_ROWS} rows: ask for fewer days")
    return [
        Served(owner, agent_id, hour * HOUR_MS, model, *(int(value) for value in sums))
        for owner, agent_id, hour, model, *sums in rows
    ]
