"""The SQL that moves holds and money; the rules for it are in quota, settlement and ledger.

In the driver's own SQL: these run for every call, on SQLite and PostgreSQL alike.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlmodel import Session

from control_plane.store.driver_sql import execute, execute_in, insert_rows
from control_plane.store.economy_tables import AttemptTerms, LedgerEntry, LedgerTransaction, UsageRecord

_LEDGER_LOCK = 7_231_906
_LOCKED = "economy ledger lock"


class Month(NamedTuple):
    """Whose quota of which month; of no pool: the spend at vendors, in pico-USD."""

    tenant_id: str
    month: str
    pool_id: str | None


class HeldTerms(NamedTuple):
    """What a hold is resolved by."""

    attempt_id: str
    call_id: str
    tenant_id: str
    api_key_id: str
    tier: str
    pool_id: str | None
    agent_id: str | None
    agent_tenant_id: str | None
    vendor: str | None
    model: str
    month: str
    billing: str
    operator_card: bool
    input_micro_usd_per_mtok: int
    output_micro_usd_per_mtok: int
    cached_input_micro_usd_per_mtok: int
    share_basis_points: int
    hold_tokens: int
    hold_pico_usd: int
    hold_state: str


class Recorded(NamedTuple):
    """What a call was settled at."""

    call_id: str
    attempt_id: str
    prompt_tokens: int
    completion_tokens: int
    cached_prompt_tokens: int
    charge_pico_usd: int
    credit_pico_usd: int


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


_MAKE_QUOTA = (
    "INSERT INTO quota_month (tenant_id, month, pool_id, quota_tokens, used_tokens, held_tokens)"
    " VALUES (?, ?, ?, ?, 0, 0) ON CONFLICT DO NOTHING"
)
_TAKE_QUOTA = (
    "UPDATE quota_month SET held_tokens = held_tokens + ?,"
    " quota_tokens = CASE WHEN quota_tokens < ? THEN ? ELSE quota_tokens END"
    " WHERE tenant_id = ? AND month = ? AND pool_id = ? AND used_tokens + held_tokens + ? <= ?"
)
_READ_QUOTA = (
    "SELECT used_tokens + held_tokens FROM quota_month WHERE tenant_id = ? AND month = ? AND pool_id = ?"
)
_RESOLVE_QUOTA = (
    "UPDATE quota_month SET held_tokens = held_tokens - ?, used_tokens = used_tokens + ?"
    " WHERE tenant_id = ? AND month = ? AND pool_id = ?"
)
_MAKE_SPEND = (
    "INSERT INTO external_month (tenant_id, month, cap_pico_usd, used_pico_usd, held_pico_usd)"
    " VALUES (?, ?, ?, 0, 0) ON CONFLICT DO NOTHING"
)
_TAKE_SPEND = (
    "UPDATE external_month SET held_pico_usd = held_pico_usd + ?,"
    " cap_pico_usd = CASE WHEN cap_pico_usd < ? THEN ? ELSE cap_pico_usd END"
    " WHERE tenant_id = ? AND month = ? AND used_pico_usd + held_pico_usd + ? <= ?"
)
_READ_SPEND = "SELECT used_pico_usd + held_pico_usd FROM external_month WHERE tenant_id = ? AND month = ?"
_RESOLVE_SPEND = (
    "UPDATE external_month SET held_pico_usd = held_pico_usd - ?, used_pico_usd = used_pico_usd + ?"
    " WHERE tenant_id = ? AND month = ?"
)
_READ_TERMS = f"SELECT {', '.join(HeldTerms._fields)} FROM attempt_terms WHERE attempt_id IN"  # noqa: S608
_READ_RECORDED = f"SELECT {', '.join(Recorded._fields)} FROM usage_record WHERE call_id IN"  # noqa: S608
_END_TERMS = "UPDATE attempt_terms SET hold_state = '{}' WHERE hold_state = 'open' AND attempt_id IN"
_CHECKPOINT = (
    "UPDATE attempt_terms SET"
    " checkpoint_prompt_tokens ="
    " CASE WHEN checkpoint_prompt_tokens < ? THEN ? ELSE checkpoint_prompt_tokens END,"
    " checkpoint_completion_tokens ="
    " CASE WHEN checkpoint_completion_tokens < ? THEN ? ELSE checkpoint_completion_tokens END"
    " WHERE attempt_id = ? AND hold_state = 'open'"
)


def take(session: Session, month: Month, hold: int, quota: int) -> bool:
    """Adds `hold` to what is held of the month if used + held + hold <= quota; whether it fitted."""
    make, update = (_MAKE_QUOTA, _TAKE_QUOTA) if month.pool_id is not None else (_MAKE_SPEND, _TAKE_SPEND)
    key = _key(month)
    values = (hold, quota, quota, *key, hold, quota)
    if execute(session, update, values).rowcount == 1:
        return True
    if hold > quota:
        return False
    # The month's first hold, or one that does not fit.
    execute(session, make, (*key, quota))
    return execute(session, update, values).rowcount == 1


def taken(session: Session, month: Month) -> int:
    """Used + held of the month."""
    read = _READ_QUOTA if month.pool_id is not None else _READ_SPEND
    return execute(session, read, _key(month)).scalar() or 0


def resolve(session: Session, month: Month, hold: int, used: int) -> None:
    """Ends holds of `hold` together; `used` of it counts against the month."""
    statement = _RESOLVE_QUOTA if month.pool_id is not None else _RESOLVE_SPEND
    execute(session, statement, (hold, used, *_key(month)))


def read_terms(session: Session, attempt_ids: Sequence[str]) -> dict[str, HeldTerms]:
    found = execute_in(session, _READ_TERMS, attempt_ids)
    return {row[0]: HeldTerms._make(row) for rows in found for row in rows}


def read_recorded(session: Session, call_ids: Sequence[str]) -> dict[str, Recorded]:
    """Of those that were settled, by call."""
    found = execute_in(session, _READ_RECORDED, call_ids)
    return {row[0]: Recorded._make(row) for rows in found for row in rows}


def end_terms(session: Session, attempt_ids: Sequence[str], state: str) -> None:
    """From OPEN. Raises RuntimeError where one of them was not."""
    ended = sum(each.rowcount for each in execute_in(session, _END_TERMS.format(state), attempt_ids))
    if ended != len(attempt_ids):
        raise RuntimeError(
            f"of {len(attempt_ids)} open holds {ended} could be ended: does another program write to this"
            " database? Run `daalu ledger verify`"
        )


def move_checkpoint(session: Session, attempt_id: str, prompt: int, completion: int) -> bool:
    """Forward only; whether the hold is open."""
    values = (prompt, prompt, completion, completion, attempt_id)
    return execute(session, _CHECKPOINT, values).rowcount == 1


def add_terms(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    insert_rows(session, AttemptTerms, rows)


def add_usage(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    insert_rows(session, UsageRecord, rows)


def add_transactions(
    session: Session, rows: Sequence[Mapping[str, Any]], entries: Sequence[Mapping[str, Any]]
) -> None:
    insert_rows(session, LedgerTransaction, rows)
    insert_rows(session, LedgerEntry, entries)


def _key(month: Month) -> tuple[str, ...]:
    key = (month.tenant_id, month.month)
    return key if month.pool_id is None else (*key, month.pool_id)
