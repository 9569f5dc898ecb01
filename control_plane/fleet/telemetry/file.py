"""The file that telemetry is kept in: SQLite, beside the store and never part of it.

It is written by one thread, in groups. A power cut may lose the last of them, a damaged file is put aside:
neither is worth a flush for each group, nor a control plane that does not start.
"""

import logging
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from control_plane.fleet.telemetry.reliability import Change, Span, Subject
from control_plane.fleet.telemetry.tiers import TIERS, Tier

logger = logging.getLogger(__name__)

VERSION = 1
BUSY_TIMEOUT_MS = 2_000
PAGE_BYTES = 8_192
# Rows that one pruning deletes, and pages that it gives back, at most: the writer is not kept long.
PRUNE_ROWS = 500
VACUUM_PAGES = 500
# Free pages are used again; only more of them than this are given back.
SPARE_PAGES = 1_000

_SCHEMA = (
    # Once a page has been written, both are settled.
    f"PRAGMA page_size={PAGE_BYTES}",
    "PRAGMA auto_vacuum=INCREMENTAL",
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=NORMAL",
    """CREATE TABLE IF NOT EXISTS series (
        id INTEGER PRIMARY KEY,
        tenant_id TEXT NOT NULL,
        agent_id TEXT NOT NULL,
        subject TEXT NOT NULL,
        card_index INTEGER,
        simulated INTEGER NOT NULL,
        UNIQUE (tenant_id, agent_id, subject)
    )""",
    # The id says tier, slot and series: see tiers.py.
    "CREATE TABLE IF NOT EXISTS chunk (id INTEGER PRIMARY KEY, rows BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS pruned (tier INTEGER PRIMARY KEY, before_ms INTEGER NOT NULL)",
    """CREATE TABLE IF NOT EXISTS change (
        id INTEGER PRIMARY KEY,
        tenant_id TEXT NOT NULL,
        agent_id TEXT NOT NULL,
        subject TEXT NOT NULL,
        at_ms INTEGER NOT NULL,
        state TEXT NOT NULL,
        words TEXT NOT NULL
    )""",
    "CREATE INDEX IF NOT EXISTS change_by_agent ON change (tenant_id, agent_id, subject, at_ms)",
    # When a control plane ran, a row for each start.
    "CREATE TABLE IF NOT EXISTS watched (id INTEGER PRIMARY KEY, begin_ms INTEGER, seen_ms INTEGER)",
    f"PRAGMA user_version={VERSION}",
)


@dataclass(frozen=True, slots=True)
class Series:
    """A subject of one agent, as it was last seen."""

    id: int
    index: int | None
    simulated: bool


# Tenant, agent, subject, time, state, words.
ChangeRow = tuple[str, str, str, int, str, str]


@dataclass(frozen=True, slots=True)
class Size:
    used_bytes: int
    free_pages: int


class TelemetryFile:
    """For one thread. Everything raises sqlite3.Error where the file cannot be used now."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, path: Path, now_unix_ms: int) -> Self:
        """Makes it where it is not there, and anew where it is damaged or a newer version's."""
        try:
            return cls(_connect(path))
        except sqlite3.OperationalError:
            # Locked, no space, no permission: it may be well later.
            raise
        except sqlite3.DatabaseError as error:
            put_aside(path, error, now_unix_ms)
            return cls(_connect(path))

    def close(self) -> None:
        self._connection.close()

    def is_empty(self) -> bool:
        return self._connection.execute("SELECT 1 FROM series LIMIT 1").fetchone() is None

    def series_of(self, tenant_id: str, agent_id: str) -> dict[str, Series]:
        """By subject."""
        return series_of(self._connection, tenant_id, agent_id)

    def put_series(
        self, tenant_id: str, agent_id: str, subject: str, *, index: int | None, simulated: bool
    ) -> Series:
        """Adds a subject, or notes its present index and kind."""
        row = self._connection.execute(
            "INSERT INTO series (tenant_id, agent_id, subject, card_index, simulated) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (tenant_id, agent_id, subject)"
            " DO UPDATE SET card_index = excluded.card_index, simulated = excluded.simulated RETURNING id",
            (tenant_id, agent_id, subject, index, simulated),
        ).fetchall()
        return Series(row[0][0], index, simulated)

    def chunk(self, chunk_id: int) -> bytes | None:
        return chunk_of(self._connection, chunk_id)

    def save(self, chunks: Mapping[int, bytes], changes: Iterable[ChangeRow], watch: tuple[int, int]) -> None:
        """All or nothing. `watch`: this process's number, and the time up to which it has looked."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT OR REPLACE INTO chunk VALUES (?, ?)", chunks.items())
            self._connection.executemany(
                "INSERT INTO change (tenant_id, agent_id, subject, at_ms, state, words)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                changes,
            )
            number, seen_ms = watch
            self._connection.execute("UPDATE watched SET seen_ms = ? WHERE id = ?", (seen_ms, number))

    def watch(self, now_unix_ms: int) -> int:
        """Notes that this process has begun to look; returns a number for `save`."""
        cursor = self._connection.execute(
            "INSERT INTO watched (begin_ms, seen_ms) VALUES (?, ?)", (now_unix_ms, now_unix_ms)
        )
        return int(cursor.lastrowid or 0)

    def prune_changes(self, before_ms: int) -> None:
        """Deletes changes from before, but for the last of each: it says how things were from then on."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(
                "DELETE FROM change WHERE at_ms < ?1 AND EXISTS (SELECT 1 FROM change AS later"
                " WHERE later.tenant_id = change.tenant_id AND later.agent_id = change.agent_id"
                " AND later.subject = change.subject AND later.at_ms < ?1 AND later.id > change.id)",
                (before_ms,),
            )
            self._connection.execute("DELETE FROM watched WHERE seen_ms < ?", (before_ms,))

    def prune(self, tier: Tier, before_ms: int) -> int:
        """Deletes chunks that end before; how many: PRUNE_ROWS where there may be more."""
        slot = tier.slot(before_ms)
        first, end = tier.chunk_id(0, 0), tier.chunk_id(slot, 0)
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            deleted = self._connection.execute(
                "DELETE FROM chunk WHERE id IN"
                " (SELECT id FROM chunk WHERE id >= ? AND id < ? ORDER BY id LIMIT ?)",
                (first, end, PRUNE_ROWS),
            ).rowcount
            if deleted:
                self._connection.execute(
                    "INSERT OR REPLACE INTO pruned VALUES (?, ?)", (tier.number, slot * tier.span_ms)
                )
        return deleted

    def size(self) -> Size:
        pages = self._number("page_count")
        free = self._number("freelist_count")
        return Size((pages - free) * self._number("page_size"), free)

    def give_back(self, pages: int) -> None:
        """Free pages, to the file system."""
        self._connection.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()

    def _number(self, pragma: str) -> int:
        return int(self._connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def put_aside(path: Path, error: Exception, now_unix_ms: int) -> None:
    """For whoever wants to look into it. Raises OSError."""
    aside = path.with_name(f"{path.name}.aside-{now_unix_ms}")
    logger.error(
        "%s cannot be used (%s): it is put aside as %s, and history begins anew", path, error, aside.name
    )
    for ending in ("", "-wal", "-shm"):
        part = path.with_name(path.name + ending)
        if part.exists():
            part.rename(aside.with_name(aside.name + ending))


def is_damage(error: Exception) -> bool:
    """Whether trying again is of no use. What is locked, full or not permitted may be well later."""
    return type(error) is sqlite3.DatabaseError


def reading(path: Path) -> "closing[sqlite3.Connection]":
    """A connection for reads, for the calling thread. Raises sqlite3.Error, also where there is no file."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    return closing(connection)


def series_of(connection: sqlite3.Connection, tenant_id: str, agent_id: str) -> dict[str, Series]:
    rows = connection.execute(
        "SELECT subject, id, card_index, simulated FROM series WHERE tenant_id = ? AND agent_id = ?"
        " ORDER BY card_index IS NULL, card_index, subject",
        (tenant_id, agent_id),
    )
    return {subject: Series(number, index, bool(simulated)) for subject, number, index, simulated in rows}


def chunk_of(connection: sqlite3.Connection, chunk_id: int) -> bytes | None:
    row = connection.execute("SELECT rows FROM chunk WHERE id = ?", (chunk_id,)).fetchone()
    return None if row is None else bytes(row[0])


def changes_of(connection: sqlite3.Connection, tenant_id: str, agent_id: str, span: Span) -> list[Change]:
    """In order: those within the span, and the last of each subject from before it."""
    whose = tenant_id, agent_id
    rows = connection.execute(
        "SELECT id, at_ms, subject, state, words FROM change WHERE tenant_id = ? AND agent_id = ?"
        " AND at_ms >= ? AND at_ms < ?",
        (*whose, span.begin_ms, span.end_ms),
    ).fetchall()
    for subject in Subject:
        rows += connection.execute(
            "SELECT id, at_ms, subject, state, words FROM change WHERE tenant_id = ? AND agent_id = ?"
            " AND subject = ? AND at_ms < ? ORDER BY at_ms DESC, id DESC LIMIT 1",
            (*whose, subject, span.begin_ms),
        ).fetchall()
    rows.sort()
    return [Change(at_ms, Subject(subject), state, words) for _, at_ms, subject, state, words in rows]


def watched(connection: sqlite3.Connection, span: Span) -> list[Span]:
    """When a control plane ran, as far as that meets the span."""
    rows = connection.execute(
        "SELECT begin_ms, seen_ms FROM watched WHERE seen_ms > ? AND begin_ms < ? ORDER BY id",
        (span.begin_ms, span.end_ms),
    )
    return [Span(*row) for row in rows]


def pruned_ms(connection: sqlite3.Connection) -> dict[int, int]:
    """Before when each tier, by its number, was pruned."""
    return {tier.number: 0 for tier in TIERS} | dict(
        connection.execute("SELECT tier, before_ms FROM pruned").fetchall()
    )


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_MS / 1000)
    try:
        _check_version(connection)
        for statement in _SCHEMA:
            connection.execute(statement).fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _check_version(connection: sqlite3.Connection) -> None:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        raise sqlite3.DatabaseError(f"a newer version of Daalu wrote it, {version}")
