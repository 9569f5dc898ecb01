"""How a tenant's calls went in a range of time: how many, how fast, and why some were refused."""

from dataclasses import dataclass

from sqlalchemy import func
from sqlmodel import Session, col, select

from control_plane.economy import Span, calls_within
from control_plane.store.tables import Call, CallOutcome


@dataclass(frozen=True, slots=True)
class CallFigures:
    """Latencies are of complete calls, in milliseconds, and None where there is none.

    `p95_ms` is the nearest-rank percentile: a duration that a call really had.
    """

    calls: int
    complete: int
    running: int
    client_gone: int
    refused: int
    failed: int
    prompt_tokens: int
    completion_tokens: int
    average_ms: float | None
    p95_ms: float | None


@dataclass(frozen=True, slots=True)
class NotServed:
    """Calls that ended refused or failed, by the code and status that the client saw."""

    outcome: str
    error_code: str | None
    http_status: int | None
    calls: int


def call_figures(session: Session, span: Span, *, tenant_id: str | None = None) -> CallFigures:
    """Of calls with a record: what was turned away before one (a bad key, a malformed body) is not among
    them."""
    within = calls_within(span, tenant_id)
    query = (
        select(Call.outcome, func.count(), func.sum(Call.prompt_tokens), func.sum(Call.completion_tokens))
        .where(*within)
        .group_by(col(Call.outcome))
    )
    rows = session.exec(query).all()
    counts = {outcome: count for outcome, count, _, _ in rows}
    timed = (*within, col(Call.outcome) == CallOutcome.COMPLETE, col(Call.duration_ms).is_not(None))
    measured, average = session.exec(select(func.count(), func.avg(Call.duration_ms)).where(*timed)).one()
    p95 = None
    if measured:
        rank = (measured * 95 + 99) // 100
        p95 = session.exec(
            select(Call.duration_ms).where(*timed).order_by(col(Call.duration_ms)).offset(rank - 1).limit(1)
        ).one()
    return CallFigures(
        calls=sum(counts.values()),
        complete=counts.get(CallOutcome.COMPLETE, 0),
        running=counts.get(CallOutcome.RUNNING, 0),
        client_gone=counts.get(CallOutcome.CLIENT_GONE, 0),
        refused=counts.get(CallOutcome.REFUSED, 0),
        failed=counts.get(CallOutcome.FAILED, 0),
        prompt_tokens=sum(int(prompt) for _, _, prompt, _ in rows),
        completion_tokens=sum(int(completion) for _, _, _, completion in rows),
        average_ms=None if average is None else float(average),
        p95_ms=p95,
    )


def not_served(session: Session, span: Span, *, tenant_id: str | None = None) -> list[NotServed]:
    """The most frequent first."""
    keys = (col(Call.outcome), col(Call.error_code), col(Call.http_status))
    query = (
        select(*keys, func.count())
        .where(
            *calls_within(span, tenant_id),
            col(Call.outcome).in_((CallOutcome.REFUSED, CallOutcome.FAILED)),
        )
        .group_by(*keys)
        .order_by(func.count().desc(), *keys)
    )
    return [NotServed(*row) for row in session.exec(query)]
