"""The file that telemetry is kept in: SQLite, beside the store and never part of it.

It is written by one thread, in groups. A power cut may lose the last of them, a damaged file is put aside:
neither is worth a flush for each group, nor a control plane that does not start.
"""

import logging
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Self

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
    f"PRAGMA user_version={VERSION}",
)


@dataclass(frozen=True, slots=True)
class Series:
    """A subject of one agent, as it was last seen."""

    id: int
    index: int | None
    simulated: bool


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
            aside = path.with_name(f"{path.name}.aside-{now_unix_ms}")
            logger.error(  # noqa: TRY400 - its words are all there is to say
                "%s cannot be used (%s): it is put aside as %s, and history begins anew",
                path,
                error,
                aside.name,
            )
            for ending in ("", "-wal", "-shm"):
                part = path.with_name(path.name + ending)
                if part.exists():
                    part.rename(aside.with_name(aside.name + ending))
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

    def save(self, chunks: Mapping[int, bytes]) -> None:
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT OR REPLACE INTO chunk VALUES (?, ?)", chunks.items())

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
