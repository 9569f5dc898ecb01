"""The database: reads from any thread, writes through one writer that commits in groups."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.script.revision import ResolutionError
from alembic.util import CommandError
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Engine, event
from sqlalchemy.engine import make_url
from sqlmodel import Session, create_engine

from control_plane.store.writer import Writer

T = TypeVar("T")
R = TypeVar("R")

# How long a statement waits for another process's lock before it fails.
SQLITE_BUSY_TIMEOUT_MS = 10_000
POSTGRESQL_LOCK_TIMEOUT_MS = 10_000
POSTGRESQL_STATEMENT_TIMEOUT_MS = 60_000
POSTGRESQL_CONNECT_TIMEOUT_S = 10


class DatabaseIsNewer(ValueError):
    """A newer version of this program has changed the schema; this one must not touch it."""


class Store:
    """One per process, built by the composition root.

    A *unit* of work is a plain function of a Session. The writer may run it more than once (its group is
    rolled back when another unit fails, then repeated), so a unit touches nothing but its session.
    """

    def __init__(self, database_url: str) -> None:
        """`database_url` in SQLAlchemy's form: sqlite:////path/daalu.db or postgresql+psycopg://…"""
        self.url = make_url(database_url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if not self.is_sqlite and self.url.get_backend_name() != "postgresql":
            raise ValueError(
                f"database {self.url.get_backend_name()!r} is not supported: use sqlite or postgresql+psycopg"
            )
        self._read_engine = _engine(database_url, begin="BEGIN")
        self._write_engine = _engine(database_url, begin="BEGIN IMMEDIATE")
        self._writer = Writer(self._write_engine)

    def migrate(self) -> None:
        """Brings the schema to this version's. Safe to call from several processes at once.

        Raises DatabaseIsNewer.
        """
        config = _migrations()
        with self._write_engine.begin() as connection:
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                if not isinstance(error.__cause__, ResolutionError):
                    raise
                raise DatabaseIsNewer(
                    "a newer version of Daalu has used this database: install that version, or restore the"
                    " database from a backup that this one made"
                ) from error

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session for reads, in the caller's thread. Nothing written through it is kept."""
        with Session(self._read_engine) as session:
            yield session

    def read(self, query: Callable[[Session], T]) -> Awaitable[T]:
        """Runs `query` in a thread, off the event loop."""

        def run() -> T:
            with self.reading() as session:
                return query(session)

        return asyncio.to_thread(run)

    async def write(self, unit: Callable[[Session], T]) -> T:
        """Runs `unit` in the writer and returns its result once it is durable.

        Cancelling the caller withdraws a unit that still waits; one that was taken is committed all the
        same. Raises WriterOverloaded, WriterClosed, or what the unit raised.
        """
        return await self._writer.submit_awaited(unit)

    def write_item(self, save_all: Callable[[Session, list[T]], Sequence[R]], item: T) -> "asyncio.Future[R]":
        """`write` for items of which many come at once: `save_all` gets those of one group together, so that
        it can write them with few statements, and returns a result for each, in their order.

        Where it raises, each item is written alone, and fails alone. Items of two functions that wait at the
        same time may be written in either order.
        """
        return self._writer.submit_item(save_all, item)

    def write_now(self, unit: Callable[[Session], T]) -> T:
        """`write` for code that has no event loop; blocks until durable."""
        return self._writer.submit(unit).result()

    @property
    def writes_waiting_count(self) -> int:
        """Units that the writer has not taken yet."""
        return self._writer.waiting_count

    def close(self) -> None:
        """Ends the writer after what is queued, and every connection."""
        self._writer.close()
        self._read_engine.dispose()
        self._write_engine.dispose()


def newest_schema() -> str:
    """The migration that this version's `migrate` ends with."""
    newest = ScriptDirectory.from_config(_migrations()).get_current_head()
    assert newest is not None  # noqa: S101 - there are migrations
    return newest


def _migrations() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def _engine(database_url: str, *, begin: str) -> Engine:
    if make_url(database_url).get_backend_name() == "postgresql":
        # The ping before each use replaces connections that a restarted server left dead.
        return create_engine(
            database_url,
            pool_pre_ping=True,
            connect_args={
                "connect_timeout": POSTGRESQL_CONNECT_TIMEOUT_S,
                "options": f"-c lock_timeout={POSTGRESQL_LOCK_TIMEOUT_MS}"
                f" -c statement_timeout={POSTGRESQL_STATEMENT_TIMEOUT_MS}",
            },
        )
    engine = create_engine(database_url)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", lambda connection: _begin_sqlite(connection, begin))
    return engine


def _prepare_sqlite(connection, _record) -> None:  # type: ignore[no-untyped-def]  # the driver's own type
    # The driver must not open transactions by itself: a deferred one that reads before it writes fails
    # under contention instead of waiting.
    connection.isolation_level = None
    # The timeout first: the change to WAL waits for others too.
    for pragma in (
        f"busy_timeout={SQLITE_BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: SqlConnection, statement: str) -> None:
    connection.exec_driver_sql(statement)
