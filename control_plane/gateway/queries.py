"""The gateway's SQL: calls and their attempts."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlmodel import Session, SQLModel

from control_plane.store.driver_sql import column_names, insert_rows
from control_plane.store.tables import Attempt, Call, CallOutcome

Row = dict[str, Any]

_FIXED = frozenset({"id", "call_id", "tenant_id", "api_key_id", "number", "started_unix_ms"})


def save_all(session: Session, records: Sequence[tuple[Row, Sequence[Row]]]) -> list[None]:
    """Writes calls with their attempts; repeating it changes nothing.

    Inserts, or updates while the row still runs: what has ended never changes, however late or often the
    same record is written.
    """
    # One record may be in a group twice; a statement may not have a row twice.
    calls = {call["id"]: call for call, _ in records}
    attempts = {attempt["id"]: attempt for _, tried in records for attempt in tried}
    insert_rows(session, Call, list(calls.values()), _while_running(Call))
    insert_rows(session, Attempt, list(attempts.values()), _while_running(Attempt))
    return [None] * len(records)


@lru_cache
def _while_running(model: type[SQLModel]) -> str:
    changed = ", ".join(f"{name} = excluded.{name}" for name in column_names(model) if name not in _FIXED)
    return (
        f" ON CONFLICT (id) DO UPDATE SET {changed}"
        f" WHERE {model.__tablename__}.outcome = '{CallOutcome.RUNNING}'"
    )
