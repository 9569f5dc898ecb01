"""The SQL that moves holds and money; the rules for it are in quota, settlement and ledger.

Written as text: these run for every call, on SQLite and PostgreSQL alike.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, Table, insert, text
from sqlmodel import Session, SQLModel

from control_plane.store.economy_tables import AttemptTerms, LedgerEntry, LedgerTransaction, UsageRecord

_LEDGER_LOCK = 7_231_906
_LOCKED = "economy ledger lock"


def one_writer_at_a_time(session: Session) -> None:
    """On PostgreSQL, groups of several processes take the economy's rows one group after the other.

    Without it two groups that hold rows of the same tenants in different orders would deadlock. SQLite has
    one writer anyway. Held until the transaction ends.
    """
    if session.get_bind().dialect.name != "postgresql":
        return
    transaction = session.get_transaction()
    if transaction is None or session.info.get(_LOCKED) is not transaction:
        session.connection().execute(text(f"SELECT pg_advisory_xact_lock({_LEDGER_LOCK})"))
        session.info[_LOCKED] = session.get_transaction()


_MAKE_QUOTA = text(
    "INSERT INTO quota_month (tenant_id, pool_id, month, quota_tokens, used_tokens, held_tokens)"
    " VALUES (:tenant_id, :pool_id, :month, :quota, 0, 0) ON CONFLICT DO NOTHING"
)
_TAKE_QUOTA = text(
    "UPDATE quota_month SET held_tokens = held_tokens + :hold,"
    " quota_tokens = CASE WHEN quota_tokens < :quota THEN :quota ELSE quota_tokens END"
    " WHERE tenant_id = :tenant_id AND pool_id = :pool_id AND month = :month"
    " AND used_tokens + held_tokens + :hold <= :quota"
    " RETURNING used_tokens + held_tokens"
)
_READ_QUOTA = text(
    "SELECT used_tokens + held_tokens FROM quota_month"
    " WHERE tenant_id = :tenant_id AND pool_id = :pool_id AND month = :month"
)
_RESOLVE_QUOTA = text(
    "UPDATE quota_month SET held_tokens = held_tokens - :hold, used_tokens = used_tokens + :used"
    " WHERE tenant_id = :tenant_id AND pool_id = :pool_id AND month = :month"
)
_MAKE_SPEND = text(
    "INSERT INTO external_month (tenant_id, month, cap_pico_usd, used_pico_usd, held_pico_usd)"
    " VALUES (:tenant_id, :month, :quota, 0, 0) ON CONFLICT DO NOTHING"
)
_TAKE_SPEND = text(
    "UPDATE external_month SET held_pico_usd = held_pico_usd + :hold,"
    " cap_pico_usd = CASE WHEN cap_pico_usd < :quota THEN :quota ELSE cap_pico_usd END"
    " WHERE tenant_id = :tenant_id AND month = :month AND used_pico_usd + held_pico_usd + :hold <= :quota"
    " RETURNING used_pico_usd + held_pico_usd"
)
_READ_SPEND = text(
    "SELECT used_pico_usd + held_pico_usd FROM external_month WHERE tenant_id = :tenant_id AND month = :month"
)
_RESOLVE_SPEND = text(
    "UPDATE external_month SET held_pico_usd = held_pico_usd - :hold, used_pico_usd = used_pico_usd + :used"
    " WHERE tenant_id = :tenant_id AND month = :month"
)
_SETTLE_TERMS = text(
    "UPDATE attempt_terms SET hold_state = 'settled'"
    " WHERE attempt_id = :attempt_id AND call_id = :call_id AND hold_state = 'open'"
    " AND NOT EXISTS (SELECT 1 FROM usage_record WHERE usage_record.call_id = :call_id)"
    " RETURNING *"
)
_VOID_TERMS = text(
    "UPDATE attempt_terms SET hold_state = 'void' WHERE attempt_id = :attempt_id AND hold_state = 'open'"
    " RETURNING *"
)
_CHECKPOINT = text(
    "UPDATE attempt_terms SET"
    " checkpoint_prompt_tokens ="
    " CASE WHEN checkpoint_prompt_tokens < :prompt THEN :prompt ELSE checkpoint_prompt_tokens END,"
    " checkpoint_completion_tokens ="
    " CASE WHEN checkpoint_completion_tokens < :completion THEN :completion"
    " ELSE checkpoint_completion_tokens END"
    " WHERE attempt_id = :attempt_id AND hold_state = 'open'"
)


def take(session: Session, key: Mapping[str, Any], hold: int, quota: int) -> int | None:
    """Adds `hold` to what is held of the month if used + held + hold <= quota; returns used + held then,
    None where it does not fit. `key`: tenant_id and month, and pool_id unless it is the spend at vendors."""
    connection = session.connection()
    values = {**key, "hold": hold, "quota": quota}
    make, update = (_MAKE_QUOTA, _TAKE_QUOTA) if "pool_id" in key else (_MAKE_SPEND, _TAKE_SPEND)
    taken = connection.execute(update, values).scalar()
    if taken is None and hold <= quota:
        # The month's first hold, or one that does not fit.
        connection.execute(make, {**key, "quota": quota})
        taken = connection.execute(update, values).scalar()
    return taken


def taken(session: Session, key: Mapping[str, Any]) -> int:
    """Used + held of the month."""
    read = _READ_QUOTA if "pool_id" in key else _READ_SPEND
    return session.connection().execute(read, dict(key)).scalar() or 0


def resolve(session: Session, key: Mapping[str, Any], hold: int, used: int) -> None:
    """Ends a hold; `used` of it counts against the month."""
    statement = _RESOLVE_QUOTA if "pool_id" in key else _RESOLVE_SPEND
    session.connection().execute(statement, {**key, "hold": hold, "used": used})


def settle_terms(session: Session, attempt_id: str, call_id: str) -> "Row[Any] | None":
    """OPEN to SETTLED; the terms, or None where the hold was resolved or the call settled before."""
    return session.connection().execute(_SETTLE_TERMS, {"attempt_id": attempt_id, "call_id": call_id}).first()


def void_terms(session: Session, attempt_id: str) -> "Row[Any] | None":
    """OPEN to VOID; the terms, or None where the hold was resolved before."""
    return session.connection().execute(_VOID_TERMS, {"attempt_id": attempt_id}).first()


def move_checkpoint(session: Session, attempt_id: str, prompt: int, completion: int) -> bool:
    """Forward only; whether the hold is open."""
    values = {"attempt_id": attempt_id, "prompt": prompt, "completion": completion}
    return session.connection().execute(_CHECKPOINT, values).rowcount == 1


def _insert(model: type[SQLModel]) -> Any:
    table: Table = model.metadata.tables[str(model.__tablename__)]
    return insert(table)


_INSERT_TERMS = _insert(AttemptTerms)
_INSERT_USAGE = _insert(UsageRecord)
_INSERT_TRANSACTION = _insert(LedgerTransaction)
_INSERT_ENTRY = _insert(LedgerEntry)


def add_terms(session: Session, row: Mapping[str, Any]) -> None:
    session.connection().execute(_INSERT_TERMS, dict(row))


def add_usage(session: Session, row: Mapping[str, Any]) -> None:
    session.connection().execute(_INSERT_USAGE, dict(row))


def add_transaction(session: Session, row: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> None:
    connection = session.connection()
    connection.execute(_INSERT_TRANSACTION, dict(row))
    connection.execute(_INSERT_ENTRY, [dict(entry) for entry in entries])
