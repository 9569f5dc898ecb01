"""Statements: what a tenant used and owes in a month, and what its cards earned; for reading and paying."""

from dataclasses import dataclass

from sqlalchemy import func
from sqlmodel import Session, col, select

from control_plane.access import Duplicate, Invalid, Unknown, audit
from control_plane.economy import sql
from control_plane.economy.flags import flagged_agents
from control_plane.economy.ledger import Transaction, held_balances, post, release_entries
from control_plane.economy.months import is_month, month_of
from control_plane.store.economy_tables import (
    Account,
    AttemptTerms,
    HoldState,
    LedgerEntry,
    LedgerTransaction,
    StatementPaid,
    TransactionKind,
    UsageRecord,
)


@dataclass(frozen=True, slots=True)
class Usage:
    """A tenant's use in a month, by tier, pool and model."""

    tenant_id: str
    month: str
    tier: str
    pool_id: str | None
    model: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    charge_pico_usd: int


@dataclass(frozen=True, slots=True)
class Credit:
    """What one card earned in a month of its consumers' statements, by account."""

    tenant_id: str
    agent_id: str
    month: str
    non_payable_pico_usd: int
    held_pico_usd: int
    payable_pico_usd: int


@dataclass(frozen=True, slots=True)
class Statement:
    """What a tenant owes for a month, reversals taken off."""

    tenant_id: str
    month: str
    charge_pico_usd: int
    paid_unix_ms: int | None


def usage(session: Session, *, tenant_id: str | None = None, month: str | None = None) -> list[Usage]:
    keys = (
        col(UsageRecord.tenant_id),
        col(UsageRecord.month),
        col(UsageRecord.tier),
        col(UsageRecord.pool_id),
        col(UsageRecord.model),
    )
    query = (
        select(  # type: ignore[call-overload]  # more columns than the overloads have
            *keys,
            func.count(),
            func.sum(UsageRecord.prompt_tokens),
            func.sum(UsageRecord.completion_tokens),
            func.sum(UsageRecord.charge_pico_usd),
        )
        .group_by(*keys)
        .order_by(*keys)
    )
    if tenant_id is not None:
        query = query.where(UsageRecord.tenant_id == tenant_id)
    if month is not None:
        query = query.where(UsageRecord.month == month)
    return [Usage(*row[:5], *(int(value) for value in row[5:])) for row in session.exec(query)]


def credits_of_cards(
    session: Session, *, tenant_id: str | None = None, month: str | None = None
) -> list[Credit]:
    """Each card's; a tenant's are their sum."""
    query = (
        select(  # type: ignore[call-overload]  # as above
            LedgerEntry.tenant_id,
            LedgerEntry.agent_id,
            LedgerTransaction.month,
            LedgerEntry.account,
            func.sum(LedgerEntry.amount_pico_usd),
        )
        .join(LedgerTransaction, col(LedgerTransaction.id) == col(LedgerEntry.transaction_id))
        .where(col(LedgerEntry.agent_id).is_not(None))
        .group_by(
            col(LedgerEntry.tenant_id),
            col(LedgerEntry.agent_id),
            col(LedgerTransaction.month),
            col(LedgerEntry.account),
        )
    )
    if tenant_id is not None:
        query = query.where(LedgerEntry.tenant_id == tenant_id)
    if month is not None:
        query = query.where(LedgerTransaction.month == month)
    sums: dict[tuple[str, str, str], dict[str, int]] = {}
    for owner, agent_id, of_month, account, amount in session.exec(query):
        sums.setdefault((owner, of_month, agent_id), {})[account] = int(amount)
    return [
        Credit(
            owner,
            agent_id,
            of_month,
            by_account.get(Account.NON_PAYABLE, 0),
            by_account.get(Account.HELD, 0),
            by_account.get(Account.PAYABLE, 0),
        )
        for (owner, of_month, agent_id), by_account in sorted(sums.items())
    ]


def statements(session: Session, *, tenant_id: str | None = None) -> list[Statement]:
    """The newest month first."""
    query = (
        select(
            LedgerTransaction.consumer_tenant_id,
            LedgerTransaction.month,
            func.sum(LedgerEntry.amount_pico_usd),
        )
        .join(LedgerEntry, col(LedgerEntry.transaction_id) == col(LedgerTransaction.id))
        .where(LedgerEntry.account == Account.CONSUMER)
        .group_by(col(LedgerTransaction.consumer_tenant_id), col(LedgerTransaction.month))
        .order_by(col(LedgerTransaction.month).desc(), col(LedgerTransaction.consumer_tenant_id))
    )
    if tenant_id is not None:
        query = query.where(LedgerTransaction.consumer_tenant_id == tenant_id)
    paid = {(row.tenant_id, row.month): row.paid_unix_ms for row in session.exec(select(StatementPaid))}
    return [
        Statement(owner, month, -int(total), paid.get((owner, month)))
        for owner, month, total in session.exec(query)
    ]


def mark_paid(session: Session, tenant_id: str, month: str, *, actor: str, now_unix_ms: int) -> Statement:
    """The operator has the tenant's money for `month`: the credit held for it becomes payable, but for that
    of flagged cards, which is held until their flag is cleared.

    Raises Unknown where there is no such statement, Invalid for a month that has not ended, Duplicate where
    it was paid before or a hold of the month is still open.
    """
    if not is_month(month):
        raise Invalid(f"a month is written like 2026-11, not {month[:20]!r}")
    if month >= month_of(now_unix_ms):
        raise Invalid(f"{month} has not ended: its statement still grows")
    sql.one_writer_at_a_time(session)
    found = [each for each in statements(session, tenant_id=tenant_id) if each.month == month]
    if not found:
        raise Unknown("statement", f"{tenant_id} {month}")
    if found[0].paid_unix_ms is not None:
        raise Duplicate(f"the statement of {month} was marked paid before")
    still_open = select(AttemptTerms.attempt_id).where(
        AttemptTerms.tenant_id == tenant_id,
        AttemptTerms.month == month,
        AttemptTerms.hold_state == HoldState.OPEN,
    )
    if session.exec(still_open).first():
        raise Duplicate(f"calls of {month} are not settled yet: try again later")
    flagged = flagged_agents(session)
    held = held_balances(session, tenant_id, month)
    entries = release_entries(tuple(balance for balance in held if balance.agent_id not in flagged))
    release_id = None
    if entries:
        release = Transaction(TransactionKind.RELEASE, tenant_id, month, now_unix_ms)
        release_id = post(session, release, entries)
    session.add(
        StatementPaid(
            tenant_id=tenant_id,
            month=month,
            charge_pico_usd=found[0].charge_pico_usd,
            release_id=release_id,
            paid_unix_ms=now_unix_ms,
        )
    )
    detail = {"month": month, "charge_pico_usd": found[0].charge_pico_usd}
    audit(
        session, actor=actor, action="statement.paid", subject=tenant_id, tenant_id=tenant_id, detail=detail
    )
    return Statement(tenant_id, month, found[0].charge_pico_usd, now_unix_ms)
