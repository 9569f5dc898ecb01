"""The control plane's part of the crash tests, in processes of their own: one that serves and is killed, and
one that comes later over the same store and ends what the first left open.

Product code throughout. Around it: a kill right before or after a COMMIT, and a note of each call's id when
its plan was made, for the tests to know of calls that never reached the store.
"""

import asyncio
import itertools
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest.mock import patch

import uvloop
from daalu_wire.v1 import agent_pb2
from sqlmodel import Session, func, select

from control_plane.fleet import AgentView
from control_plane.fleet.reaper import RECEIPTS_WAIT_S, Reaper
from control_plane.fleet.receipts import store_receipts
from control_plane.gateway import Limits, Siblings
from control_plane.gateway.siblings import BEAT_EVERY_S
from control_plane.identifiers import new_call_id
from control_plane.store import Store, unix_ms
from control_plane.store.processes import GONE_AFTER_S
from control_plane.store.tables import Call, CallOutcome
from tests.support.gateway import serving
from tests.support.market import EventCounting

MOST_LOOKS = 20

# Of each agent: its id, and its journal.
Receipts = tuple[tuple[str, tuple[bytes, ...]], ...]


@dataclass(frozen=True, slots=True)
class KillAt:
    """The process's `commit`-th COMMIT, from 1."""

    commit: int
    after: bool


@dataclass(frozen=True, slots=True)
class Life:
    """What one serving process is told."""

    database_url: str
    agents: tuple[AgentView, ...]
    limits: Limits
    # A line for each call that was planned.
    planned: Path
    kill: KillAt | None


def live(life: Life, told: Connection) -> None:
    """Serves until it is killed, or its parent is gone. Tells its port."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_live(life, told))


async def _live(life: Life, told: Connection) -> None:
    store = Store(life.database_url)
    siblings = Siblings(store)
    await siblings.look()
    if life.kill is not None:
        _die_at(store, life.kill)
    beating = asyncio.create_task(_beat_on(siblings))
    parent_gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(told.fileno(), parent_gone.set)
    with life.planned.open("ab", buffering=0) as planned:
        note = patch("control_plane.gateway.calls.new_call_id", _noting(planned.write))
        served = serving(store, *life.agents, limits=life.limits, counting=EventCounting(), rows=False)
        with note:
            async with served as front:
                told.send(int(front.url.rpartition(":")[2]))
                gone = asyncio.create_task(parent_gone.wait())
                await asyncio.wait({gone, beating}, return_when=asyncio.FIRST_COMPLETED)
    os._exit(3)


async def _beat_on(siblings: Siblings) -> None:
    # The first beat is before the commits that are counted.
    await asyncio.sleep(BEAT_EVERY_S)
    await siblings.run()


def _noting(write: Callable[[bytes], Any]) -> Callable[[], str]:
    def noted() -> str:
        call_id = new_call_id()
        write(f"{call_id}\n".encode())
        return call_id

    return noted


def _die_at(store: Store, kill: KillAt) -> None:
    dialect: Any = store._write_engine.dialect
    commit, numbers = dialect.do_commit, itertools.count(1)

    def do_commit(connection: Any) -> None:
        number = next(numbers)
        if number == kill.commit and not kill.after:
            os.kill(os.getpid(), signal.SIGKILL)
        commit(connection)
        if number == kill.commit and kill.after:
            os.kill(os.getpid(), signal.SIGKILL)

    dialect.do_commit = do_commit


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a process that comes after the dead ones is told."""

    database_url: str
    receipts: Receipts


def recover(recovery: Recovery) -> None:
    """Comes when the dead are known to be dead, and looks again when receipts have been waited for."""
    asyncio.run(_recover(recovery))


async def _recover(recovery: Recovery) -> None:
    later_ms = int(GONE_AFTER_S * 1000) + 1_000

    def clock() -> int:
        return unix_ms() + later_ms

    store = Store(recovery.database_url)
    with (
        patch("control_plane.gateway.siblings.unix_ms", clock),
        patch("control_plane.fleet.reaper.unix_ms", clock),
    ):
        siblings = Siblings(store)
        reaper = Reaper(store, lambda: siblings.orphaned_before_unix_ms)
        for agent_id, journal in recovery.receipts:
            receipts = [agent_pb2.Receipt.FromString(each) for each in journal]
            await store.write(partial(store_receipts, agent_id=agent_id, receipts=receipts))
        await siblings.look()
        await reaper.look(0.0)
        later_ms += int(RECEIPTS_WAIT_S * 1000)
        # Each look ends a bounded number; one more than needed changes nothing.
        for _ in range(MOST_LOOKS):
            running = await store.read(_running)
            await siblings.look()
            await reaper.look(RECEIPTS_WAIT_S)
            if not running:
                break
    store.close()


def _running(session: Session) -> int:
    return session.exec(select(func.count()).where(Call.outcome == CallOutcome.RUNNING)).one()
