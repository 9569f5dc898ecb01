"""Changes: how every process learns at once that what it holds in memory is out of date.

The transaction that changes something announces it. A watcher yields which kinds changed; whoever holds
rows of that kind reads them again. The first batch names every kind, and so does one after a lost
connection, so that nothing is missed.
"""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psycopg
from sqlalchemy import text
from sqlmodel import Session

from control_plane.store.database import POSTGRESQL_CONNECT_TIMEOUT_S, SQLITE_BUSY_TIMEOUT_MS, Store
from control_plane.store.tables import Change, ChangeKind

logger = logging.getLogger(__name__)

SQLITE_POLL_S = 0.2
RECONNECT_S = 1.0
_CHANNEL = "daalu_change"
_KINDS = frozenset(kind.value for kind in ChangeKind)


@dataclass(frozen=True, slots=True)
class Changes:
    kinds: frozenset[ChangeKind]
    # Ids of what changed; empty means "anything may have".
    subjects: frozenset[str]


EVERYTHING = Changes(frozenset(ChangeKind), frozenset())


def announce(session: Session, kind: ChangeKind, subject: str) -> None:
    """Tells the other processes, when and only when this transaction commits."""
    session.add(Change(kind=kind, subject=subject))
    if session.get_bind().dialect.name == "postgresql":
        session.execute(
            text("SELECT pg_notify(:channel, :payload)"),
            {"channel": _CHANNEL, "payload": f"{kind} {subject}"},
        )


def watch(store: Store) -> AsyncIterator[Changes]:
    """Batches of changes for as long as the caller iterates; the first is EVERYTHING."""
    return _watch_sqlite(store) if store.is_sqlite else _watch_postgresql(store)


async def _watch_sqlite(store: Store) -> AsyncIterator[Changes]:
    # A thread and a connection of its own: data_version compares only within one connection, and a
    # cancelled watcher must not close it under a query that still runs.
    loop = asyncio.get_running_loop()
    thread = ThreadPoolExecutor(1, thread_name_prefix="store-watch")
    try:
        while True:
            try:
                cursor = await loop.run_in_executor(thread, _SqliteCursor, store.url.database or "")
                try:
                    yield EVERYTHING
                    while True:
                        await asyncio.sleep(SQLITE_POLL_S)
                        if changes := await loop.run_in_executor(thread, cursor.news):
                            yield changes
                finally:
                    thread.submit(cursor.close)
            except sqlite3.Error as error:
                logger.warning("cannot read the database's changes, trying again: %s", error)
                await asyncio.sleep(RECONNECT_S)
    finally:
        thread.shutdown(wait=False)


class _SqliteCursor:
    """Where one watcher stands in the table of changes. Used by one thread."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=SQLITE_BUSY_TIMEOUT_MS / 1000)
        # The version first: a change between the two reads is then told again, not lost.
        self._version = self._read_version()
        row = self._connection.execute("SELECT coalesce(max(id), 0) FROM change").fetchone()
        self._last = int(row[0])

    def news(self) -> Changes | None:
        """What was announced since the last call; None at once while nobody committed anything."""
        version = self._read_version()
        if version == self._version:
            return None
        rows = self._connection.execute(
            "SELECT id, kind, subject FROM change WHERE id > ? ORDER BY id", (self._last,)
        ).fetchall()
        self._version = version
        if not rows:
            return None
        self._last = int(rows[-1][0])
        return _changes([(kind, subject) for _, kind, subject in rows])

    def close(self) -> None:
        self._connection.close()

    def _read_version(self) -> int:
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])


async def _watch_postgresql(store: Store) -> AsyncIterator[Changes]:
    address = store.url.set(drivername="postgresql").render_as_string(hide_password=False)
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(
                address,
                autocommit=True,
                connect_timeout=POSTGRESQL_CONNECT_TIMEOUT_S,
                # A server that vanished without a word is noticed within half a minute.
                keepalives_idle=10,
                keepalives_interval=5,
                keepalives_count=4,
            ) as connection:
                await connection.execute(f"LISTEN {_CHANNEL}")
                yield EVERYTHING
                async for notification in connection.notifies():
                    kind, _, subject = notification.payload.partition(" ")
                    if changes := _changes([(kind, subject)]):
                        yield changes
        except psycopg.OperationalError as error:
            logger.warning("lost the database's notifications, trying again: %s", str(error).strip())
            await asyncio.sleep(RECONNECT_S)


def _changes(announced: list[tuple[str, str]]) -> Changes | None:
    # A newer version's process may announce kinds that this one holds nothing of.
    known = [(kind, subject) for kind, subject in announced if kind in _KINDS]
    if not known:
        return None
    return Changes(
        frozenset(ChangeKind(kind) for kind, _ in known), frozenset(subject for _, subject in known)
    )
