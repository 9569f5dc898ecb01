"""The store on both kinds of database."""

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, SQLModel, select

from control_plane.store import Store, WriterClosed
from control_plane.store.tables import Setting, Tenant


class _AddTenant:
    """A unit that remembers which sessions it ran in."""

    def __init__(self, identifier: str, name: str | None = None) -> None:
        self.identifier, self.name = identifier, name or identifier
        self.sessions: list[Session] = []

    def __call__(self, session: Session) -> str:
        self.sessions.append(session)
        session.add(Tenant(id=self.identifier, name=self.name, created_unix_ms=1))
        return self.identifier


def _names(store: Store) -> set[str]:
    with store.reading() as session:
        return set(session.exec(select(Tenant.name)))


class Hold:
    """A unit that keeps the writer busy until it is let go, so that a group gathers behind it."""

    def __init__(self) -> None:
        self.entered, self.release = threading.Event(), threading.Event()

    def __call__(self, _session: Session) -> None:
        self.entered.set()
        assert self.release.wait(30)


def test_migrations_make_exactly_the_tables(store: Store) -> None:
    engine = create_engine(store.url)
    with engine.connect() as connection:
        difference = compare_metadata(MigrationContext.configure(connection), SQLModel.metadata)
    engine.dispose()
    assert difference == []


def test_migrating_twice_changes_nothing(store: Store) -> None:
    store.write_now(_AddTenant("ten-1"))
    store.migrate()
    assert _names(store) == {"ten-1"}


def test_processes_that_migrate_at_once_all_succeed(database_url: str) -> None:
    program = "import sys; from control_plane.store import Store; Store(sys.argv[1]).migrate()"
    processes = [
        subprocess.Popen([sys.executable, "-c", program, database_url], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    results = [(process.communicate(timeout=60)[1], process.returncode) for process in processes]
    assert [code for _, code in results] == [0, 0, 0], results


async def test_a_write_is_seen_by_the_next_read_and_returns_its_result(store: Store) -> None:
    assert await store.write(_AddTenant("ten-1")) == "ten-1"
    assert await store.read(lambda session: [*session.exec(select(Tenant.id))]) == ["ten-1"]


async def test_a_failing_unit_of_a_group_fails_alone(store: Store) -> None:
    hold = Hold()
    held = asyncio.ensure_future(store.write(hold))
    await asyncio.to_thread(hold.entered.wait, 30)
    names = ["a", "b", "a", "c", "b", "d"]
    writes = [
        asyncio.ensure_future(store.write(_AddTenant(f"ten-{number}", name)))
        for number, name in enumerate(names)
    ]
    await asyncio.sleep(0)
    hold.release.set()
    results = await asyncio.gather(*writes, return_exceptions=True)
    await held
    assert [isinstance(result, IntegrityError) for result in results] == [
        False, False, True, False, True, False,
    ]  # fmt: skip
    assert _names(store) == {"a", "b", "c", "d"}


async def test_units_that_wait_together_are_committed_together(store: Store) -> None:
    hold = Hold()
    held = asyncio.ensure_future(store.write(hold))
    await asyncio.to_thread(hold.entered.wait, 30)
    units = [_AddTenant(f"ten-{number}") for number in range(50)]
    writes = [asyncio.ensure_future(store.write(unit)) for unit in units]
    await asyncio.sleep(0)
    hold.release.set()
    await asyncio.gather(held, *writes)
    assert [len(unit.sessions) for unit in units] == [1] * 50
    assert len({id(unit.sessions[0]) for unit in units}) == 1


async def test_a_cancelled_waiter_withdraws_its_unit_and_harms_nobody(store: Store) -> None:
    hold = Hold()
    held = asyncio.ensure_future(store.write(hold))
    await asyncio.to_thread(hold.entered.wait, 30)
    cancelled = asyncio.ensure_future(store.write(_AddTenant("ten-cancelled")))
    kept = asyncio.ensure_future(store.write(_AddTenant("ten-kept")))
    await asyncio.sleep(0)
    cancelled.cancel()
    held.cancel()
    await asyncio.gather(cancelled, held, return_exceptions=True)
    hold.release.set()
    assert await kept == "ten-kept"
    assert _names(store) == {"ten-kept"}


def test_nothing_written_through_a_reading_session_is_kept(store: Store) -> None:
    with store.reading() as session:
        session.add(Setting(name="x", value="y"))
        session.flush()
    with store.reading() as session:
        assert session.get(Setting, "x") is None


def test_closing_commits_what_was_queued_and_refuses_the_rest(database_url: str) -> None:
    store = Store(database_url)
    store.migrate()
    hold = Hold()
    with ThreadPoolExecutor(3) as threads:
        threads.submit(store.write_now, hold)
        assert hold.entered.wait(30)
        queued = threads.submit(store.write_now, _AddTenant("ten-queued"))
        closing = threads.submit(store.close)
        hold.release.set()
        closing.result(30)
        try:
            queued.result(30)
            expected = {"ten-queued"}
        except WriterClosed:  # the close was faster than the write
            expected = set()
    with pytest.raises(WriterClosed):
        store.write_now(_AddTenant("ten-late"))
    store.close()
    again = Store(database_url)
    assert _names(again) == expected
    again.close()


def test_another_kind_of_database_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'mysql' is not supported"):
        Store("mysql://localhost/x")
