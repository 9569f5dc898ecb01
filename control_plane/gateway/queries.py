"""The gateway's SQL: calls and their attempts, and with them what becomes of their holds."""

from collections.abc import Sequence
from functools import lru_cache

from sqlmodel import Session, SQLModel

from control_plane.economy import Held, NewTerms, NothingHeld, QuotaExceeded, hold_all, settle_all
from control_plane.gateway.record import Entry
from control_plane.store import column_names, insert_rows
from control_plane.store.tables import Attempt, Call, CallOutcome

_FIXED = frozenset({"id", "call_id", "tenant_id", "api_key_id", "number", "started_unix_ms"})


def reserve_all(session: Session, items: Sequence[tuple[NewTerms, Entry]]) -> list[Held | QuotaExceeded]:
    """Makes holds, and writes the calls and attempts of those that succeeded."""
    return hold_all(session, items, save_all)


def save_all(session: Session, entries: Sequence[Entry]) -> list[None]:
    """Writes calls with their attempts, and resolves the holds of those that ended; repeating it changes
    nothing.

    Inserts, or updates while the row still runs: what has ended never changes, however late or often the
    same record is written. A hold that was settled before stays as it is. Raises NothingHeld where one was
    given back.
    """
    # One record may be in a group twice; a statement may not have a row twice.
    calls = {entry.call["id"]: entry.call for entry in entries}
    attempts = {attempt["id"]: attempt for entry in entries for attempt in entry.attempts}
    insert_rows(session, Call, list(calls.values()), _while_running(Call))
    insert_rows(session, Attempt, list(attempts.values()), _while_running(Attempt))
    endings = [ending for entry in entries for ending in entry.endings]
    for ending, settled in zip(endings, settle_all(session, endings) if endings else (), strict=True):
        if settled is None:
            raise NothingHeld(f"the hold of attempt {ending.attempt_id} was given back")
    return [None] * len(entries)


@lru_cache
def _while_running(model: type[SQLModel]) -> str:
    changed = ", ".join(f"{name} = excluded.{name}" for name in column_names(model) if name not in _FIXED)
    return (
        f" ON CONFLICT (id) DO UPDATE SET {changed}"
        f" WHERE {model.__tablename__}.outcome = '{CallOutcome.RUNNING}'"
    )
