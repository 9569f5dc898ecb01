"""The ledger: append-only transactions whose entries sum to zero. Positive: the platform owes it.

A settlement debits the consumer, credits the card's tenant in the account that the billing says, and gives
the platform the remainder. A release moves held credit to payable. A reversal takes a settlement back.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import func
from sqlmodel import Session, col, select

from control_plane.access import Duplicate, Unknown, audit
from control_plane.economy import sql
from control_plane.identifiers import TransactionId, new_transaction_id
from control_plane.store import unix_ms
from control_plane.store.economy_tables import (
    Account,
    Billing,
    LedgerEntry,
    LedgerTransaction,
    StatementPaid,
    TransactionKind,
)

logger = logging.getLogger(__name__)


class Entry(NamedTuple):
    account: Account
    # None: the platform.
    tenant_id: str | None
    # None: not a provider's account.
    agent_id: str | None
    amount_pico_usd: int


@dataclass(frozen=True, slots=True)
class Provider:
    """Whom a call's card earns for."""

    tenant_id: str
    agent_id: str


def settlement_entries(
    consumer: str, provider: Provider | None, billing: Billing, charge: int, credit: int
) -> tuple[Entry, ...]:
    """One debit, the platform's part, and a credit where there is one."""
    entries = [
        Entry(Account.CONSUMER, consumer, None, -charge),
        Entry(Account.PLATFORM, None, None, charge - credit),
    ]
    if provider is not None and credit:
        account = Account.NON_PAYABLE if billing is Billing.FREE else Account.HELD
        entries.append(Entry(account, provider.tenant_id, provider.agent_id, credit))
    return tuple(entries)


def reversal_entries(settled: tuple[Entry, ...], *, released: bool) -> tuple[Entry, ...]:
    """The opposite; `released`: the held credit has become payable, and is taken from there."""
    return tuple(
        Entry(
            Account.PAYABLE if released and entry.account is Account.HELD else entry.account,
            entry.tenant_id,
            entry.agent_id,
            -entry.amount_pico_usd,
        )
        for entry in settled
    )


def release_entries(held: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """From held to payable, the balance of each card."""
    return tuple(
        entry
        for balance in held
        if balance.amount_pico_usd
        for entry in (
            Entry(Account.HELD, balance.tenant_id, balance.agent_id, -balance.amount_pico_usd),
            Entry(Account.PAYABLE, balance.tenant_id, balance.agent_id, balance.amount_pico_usd),
        )
    )


@dataclass(frozen=True, slots=True)
class Transaction:
    kind: TransactionKind
    consumer_tenant_id: str
    month: str
    at_unix_ms: int
    call_id: str | None = None
    reverses_id: str | None = None


def post(session: Session, transaction: Transaction, entries: tuple[Entry, ...]) -> TransactionId:
    """Writes it. Raises ValueError where the entries do not sum to zero, or there are none."""
    return post_all(session, [(transaction, entries)])[0]


def post_all(
    session: Session, posted: Sequence[tuple[Transaction, tuple[Entry, ...]]]
) -> list[TransactionId]:
    """`post` of several, with a few statements for all."""
    ids, transactions, lines = [], [], []
    for transaction, entries in posted:
        if not entries or sum(entry.amount_pico_usd for entry in entries) != 0:
            raise ValueError("a transaction's entries sum to zero")
        transaction_id = new_transaction_id()
        ids.append(transaction_id)
        transactions.append(
            {
                "id": transaction_id,
                "kind": str(transaction.kind),
                "call_id": transaction.call_id,
                "reverses_id": transaction.reverses_id,
                "consumer_tenant_id": transaction.consumer_tenant_id,
                "month": transaction.month,
                "at_unix_ms": transaction.at_unix_ms,
            }
        )
        lines += [_row(transaction_id, line, entry) for line, entry in enumerate(entries)]
    sql.add_transactions(session, transactions, lines)
    return ids


def reverse(session: Session, call_id: str, *, actor: str) -> TransactionId:
    """Takes a call's charge and credit back; what it used of the quota stays used.

    Raises Unknown where the call has no settlement in the ledger, Duplicate where it was reversed before.
    """
    sql.one_writer_at_a_time(session)
    of_call = select(LedgerTransaction).where(LedgerTransaction.call_id == call_id)
    settlement = session.exec(of_call.where(LedgerTransaction.kind == TransactionKind.SETTLEMENT)).first()
    if settlement is None:
        raise Unknown("charged call", call_id)
    if session.exec(of_call.where(LedgerTransaction.kind == TransactionKind.REVERSAL)).first():
        raise Duplicate(f"call {call_id} was reversed before")
    paid = session.get(StatementPaid, (settlement.consumer_tenant_id, settlement.month))
    settled = entries_of(session, settlement.id)
    entries = reversal_entries(
        settled, released=paid is not None and not _is_kept_back(session, settlement, settled)
    )
    transaction_id = post(
        session,
        Transaction(
            TransactionKind.REVERSAL,
            settlement.consumer_tenant_id,
            settlement.month,
            unix_ms(),
            call_id,
            settlement.id,
        ),
        entries,
    )
    audit(
        session,
        actor=actor,
        action="ledger.reversed",
        subject=call_id,
        tenant_id=settlement.consumer_tenant_id,
        detail={"transaction": transaction_id, "reverses": settlement.id},
    )
    return transaction_id


def reverse_once(session: Session, call_id: str, *, actor: str) -> None:
    """`reverse`, unless that was done before. Raises Unknown."""
    try:
        reverse(session, call_id, actor=actor)
    except Duplicate:
        logger.info("call %s was reversed before", call_id)


def entries_of(session: Session, transaction_id: str) -> tuple[Entry, ...]:
    rows = session.exec(
        select(LedgerEntry)
        .where(LedgerEntry.transaction_id == transaction_id)
        .order_by(col(LedgerEntry.line))
    )
    return tuple(
        Entry(Account(row.account), row.tenant_id, row.agent_id, row.amount_pico_usd) for row in rows
    )


def held_balances(session: Session, consumer_tenant_id: str, month: str) -> tuple[Entry, ...]:
    """Held credit that waits for this statement, of each card."""
    query = (
        select(LedgerEntry.tenant_id, LedgerEntry.agent_id, func.sum(LedgerEntry.amount_pico_usd))
        .join(LedgerTransaction, col(LedgerTransaction.id) == col(LedgerEntry.transaction_id))
        .where(
            LedgerTransaction.consumer_tenant_id == consumer_tenant_id,
            LedgerTransaction.month == month,
            LedgerEntry.account == Account.HELD,
        )
        .group_by(col(LedgerEntry.tenant_id), col(LedgerEntry.agent_id))
        .order_by(col(LedgerEntry.agent_id))
    )
    return tuple(
        Entry(Account.HELD, tenant_id, agent_id, int(amount))
        for tenant_id, agent_id, amount in session.exec(query)
    )


@dataclass(frozen=True, slots=True)
class KeptBack:
    """Credit of one card from a statement that was paid, still held: the card was flagged then."""

    consumer_tenant_id: str
    month: str
    balance: Entry


def kept_back(session: Session, agent_id: str) -> list[KeptBack]:
    """Of each paid statement that holds some of the card's."""
    query = (
        select(
            LedgerTransaction.consumer_tenant_id,
            LedgerTransaction.month,
            LedgerEntry.tenant_id,
            func.sum(LedgerEntry.amount_pico_usd),
        )
        .join(LedgerTransaction, col(LedgerTransaction.id) == col(LedgerEntry.transaction_id))
        .join(
            StatementPaid,
            (col(StatementPaid.tenant_id) == col(LedgerTransaction.consumer_tenant_id))
            & (col(StatementPaid.month) == col(LedgerTransaction.month)),
        )
        .where(LedgerEntry.agent_id == agent_id, LedgerEntry.account == Account.HELD)
        .group_by(
            col(LedgerTransaction.consumer_tenant_id),
            col(LedgerTransaction.month),
            col(LedgerEntry.tenant_id),
        )
        .having(func.sum(LedgerEntry.amount_pico_usd) != 0)
        .order_by(col(LedgerTransaction.month), col(LedgerTransaction.consumer_tenant_id))
    )
    return [
        KeptBack(consumer, month, Entry(Account.HELD, tenant_id, agent_id, int(amount)))
        for consumer, month, tenant_id, amount in session.exec(query)
    ]


def _is_kept_back(session: Session, settlement: LedgerTransaction, entries: tuple[Entry, ...]) -> bool:
    """Whether a paid statement's credit for this call is still held: all of a card's is, or nothing."""
    agents = {entry.agent_id for entry in entries if entry.account is Account.HELD}
    held = held_balances(session, settlement.consumer_tenant_id, settlement.month)
    return any(balance.agent_id in agents and balance.amount_pico_usd for balance in held)


def _row(transaction_id: str, line: int, entry: Entry) -> dict[str, Any]:
    return {
        "transaction_id": transaction_id,
        "line": line,
        "account": str(entry.account),
        "tenant_id": entry.tenant_id,
        "agent_id": entry.agent_id,
        "amount_pico_usd": entry.amount_pico_usd,
    }
