"""The gateway's SQL: calls and their attempts, and with them what becomes of their holds."""

import logging
from collections.abc import Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Table
from sqlmodel import Session, SQLModel

from control_plane.economy import NothingHeld, OwnFacts, SettleFacts, settle, settle_own, void
from control_plane.gateway.ending import Ending, Voided
from control_plane.gateway.record import Entry
from control_plane.store.tables import Attempt, Call, CallOutcome

logger = logging.getLogger(__name__)

Row = dict[str, Any]

_FIXED = frozenset({"id", "call_id", "tenant_id", "api_key_id", "number", "started_unix_ms"})
# Statements have a power of two of rows, up to this: a few texts, which the drivers keep prepared.
_MOST_ROWS = 64


def save_all(session: Session, entries: Sequence[Entry]) -> None:
    """Writes calls with their attempts, and resolves the holds of those that ended; repeating it changes
    nothing.

    Inserts, or updates while the row still runs: what has ended never changes, however late or often the
    same record is written. In the driver's own SQL, many rows a statement: SQLAlchemy's costs 45 µs a row,
    and each statement hands the interpreter to the event loop's thread and waits to get it back.
    """
    # One record may be in a group twice; a statement may not have a row twice.
    calls = {entry.call["id"]: entry.call for entry in entries}
    attempts = {attempt["id"]: attempt for entry in entries for attempt in entry.attempts}
    _save(session, Call, list(calls.values()))
    _save(session, Attempt, list(attempts.values()))
    for entry in entries:
        if entry.ending is not None:
            resolve(session, entry.ending)


def resolve(session: Session, ending: Ending) -> None:
    """A hold that was resolved before stays as it is."""
    match ending:
        case OwnFacts():
            settle_own(session, ending)
        case SettleFacts():
            try:
                settle(session, ending)
            except NothingHeld:
                # The reaper was faster: what it knew of has been settled or given back.
                logger.warning("call %s was settled late: its hold had been resolved", ending.call_id)
        case Voided():
            void(session, ending.attempt_id)


def _save(session: Session, model: type[SQLModel], rows: list[Row]) -> None:
    connection = session.connection()
    mark = "%s" if connection.dialect.name == "postgresql" else "?"
    in_order = _in_order(model)
    begin = 0
    while begin < len(rows):
        count = min(1 << (len(rows) - begin).bit_length() - 1, _MOST_ROWS)
        values = tuple(value for row in rows[begin : begin + count] for value in in_order(row))
        connection.exec_driver_sql(_statement(model, mark, count), values)
        begin += count


@lru_cache
def _in_order(model: type[SQLModel]) -> "itemgetter[Any]":
    return itemgetter(*[column.name for column in _table(model).columns])


@lru_cache
def _statement(model: type[SQLModel], mark: str, count: int) -> str:
    table = _table(model)
    names = [column.name for column in table.columns]
    row = f"({', '.join([mark] * len(names))})"
    changed = ", ".join(f"{name} = excluded.{name}" for name in names if name not in _FIXED)
    return (
        f"INSERT INTO {table.name} ({', '.join(names)}) VALUES {', '.join([row] * count)}"  # noqa: S608
        f" ON CONFLICT (id) DO UPDATE SET {changed} WHERE {table.name}.outcome = '{CallOutcome.RUNNING}'"
    )


def _table(model: type[SQLModel]) -> Table:
    return model.metadata.tables[str(model.__tablename__)]
