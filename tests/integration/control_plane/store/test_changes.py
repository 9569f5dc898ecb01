"""Changes reach other processes within their promised second."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator

import pytest
from sqlmodel import Session

from control_plane.store import EVERYTHING, Changes, Store, announce, watch
from control_plane.store.tables import Change, ChangeKind
from tests.support import postgresql

PROMISE_S = 1.0

_ANNOUNCER = """
import sys
from control_plane.store import Store, announce
from control_plane.store.tables import ChangeKind
store = Store(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    store.write_now(lambda session: announce(session, ChangeKind.AGENT, line.strip()))
    print("done", flush=True)
store.close()
"""


async def _next(changes: AsyncIterator[Changes], timeout_s: float = 10) -> Changes:
    async with asyncio.timeout(timeout_s):
        return await anext(changes)


async def test_the_first_batch_names_everything(store: Store) -> None:
    changes = watch(store)
    assert await _next(changes) == EVERYTHING
    await changes.aclose()  # type: ignore[attr-defined]  # an async generator behind the protocol


async def test_a_commit_in_another_process_is_seen_within_a_second(store: Store, database_url: str) -> None:
    changes = watch(store)
    await _next(changes)
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _ANNOUNCER, database_url, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdin is not None
    assert other.stdout is not None
    try:
        assert await other.stdout.readline() == b"ready\n"
        for number in range(3):
            waiting = asyncio.ensure_future(_next(changes))
            other.stdin.write(f"agt-{number}\n".encode())
            assert await other.stdout.readline() == b"done\n"
            committed = time.monotonic()
            seen = await waiting
            assert time.monotonic() - committed < PROMISE_S
            assert seen == Changes(frozenset({ChangeKind.AGENT}), frozenset({f"agt-{number}"}))
    finally:
        other.stdin.close()
        await asyncio.wait_for(other.wait(), 30)
        await changes.aclose()  # type: ignore[attr-defined]


async def test_this_process_sees_its_own_changes(store: Store) -> None:
    changes = watch(store)
    await _next(changes)
    waiting = asyncio.ensure_future(_next(changes))
    await store.write(lambda session: announce(session, ChangeKind.ACCESS, "key-1"))
    assert (await waiting).subjects == {"key-1"}
    await changes.aclose()  # type: ignore[attr-defined]


async def test_what_was_rolled_back_is_not_announced(store: Store) -> None:
    changes = watch(store)
    await _next(changes)
    waiting = asyncio.ensure_future(_next(changes))

    def fails(session: Session) -> None:
        announce(session, ChangeKind.ACCESS, "key-undone")
        session.flush()
        raise LookupError("no")

    with pytest.raises(LookupError):
        await store.write(fails)
    await store.write(lambda session: announce(session, ChangeKind.ACCESS, "key-kept"))
    assert (await waiting).subjects == {"key-kept"}
    await changes.aclose()  # type: ignore[attr-defined]


async def test_a_kind_of_a_newer_version_is_passed_over(store: Store) -> None:
    changes = watch(store)
    await _next(changes)
    waiting = asyncio.ensure_future(_next(changes))
    await store.write(lambda session: session.add(Change(kind="not-yet-invented", subject="x")))
    await store.write(lambda session: announce(session, ChangeKind.ACCESS, "key-1"))
    assert (await waiting).subjects == {"key-1"}
    await changes.aclose()  # type: ignore[attr-defined]


async def test_a_cancelled_watcher_ends_at_once(store: Store) -> None:
    async def follow() -> None:
        async for _ in watch(store):
            started.set()

    started = asyncio.Event()
    task = asyncio.ensure_future(follow())
    await asyncio.wait_for(started.wait(), 10)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=5)
    assert task in done


@pytest.mark.postgresql
async def test_a_restarted_server_costs_no_change(postgresql_server: postgresql.Server) -> None:
    store = Store(postgresql_server.create_database())
    store.migrate()
    changes = watch(store)
    await _next(changes)
    waiting = asyncio.ensure_future(_next(changes, timeout_s=60))
    await asyncio.to_thread(postgresql_server.restart)
    # What happened while nobody listened is unknown: everything is to be read again.
    assert await waiting == EVERYTHING
    await store.write(lambda session: announce(session, ChangeKind.ACCESS, "key-1"))
    assert (await _next(changes)).subjects == {"key-1"}
    await changes.aclose()  # type: ignore[attr-defined]
    store.close()
