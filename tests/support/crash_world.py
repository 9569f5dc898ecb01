"""What outlives the control plane in the crash tests: the cards, the clients and the database."""

import asyncio
import multiprocessing
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import TypeVar

from sqlmodel import Session, select

from control_plane.fleet import AgentView
from control_plane.gateway import Limits
from control_plane.store import Store
from control_plane.store.economy_tables import AttemptTerms
from tests.support.crash_card import Card, card
from tests.support.crash_program import KillAt, Life, Receipts, Recovery, live, recover
from tests.support.gateway import engine_view, fill
from tests.support.market import Terms, open_market, operators_card, providers_card

T = TypeVar("T")

START_TIMEOUT_S = 60.0
RECOVERY_TIMEOUT_S = 60.0
MONTHLY_TOKENS = 5_000_000
# A max_tokens that fits in the model's context and in no month.
OVER_QUOTA = MONTHLY_TOKENS + 1

# Processes come from one that has imported everything, so that a restart costs a fork.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["pytest", "tests.support.crash_program"])


@dataclass
class Child:
    """A control plane that serves."""

    process: ForkServerProcess
    told: Connection
    port: int = 0

    async def ready(self) -> bool:
        """False: it was killed before it served."""
        if not await asyncio.to_thread(self.told.poll, START_TIMEOUT_S):
            raise TimeoutError("the control plane does not start")
        try:
            self.port = self.told.recv()
        except EOFError:
            return False
        return True

    @property
    def died(self) -> bool:
        return self.process.exitcode is not None

    async def dies(self, within_s: float = 10.0) -> bool:
        await asyncio.to_thread(self.process.join, within_s)
        return self.died

    async def kill(self) -> None:
        """-9, if that has not happened yet."""
        self.process.kill()
        assert await self.dies()
        assert self.process.exitcode == -9, "it died of something else"
        self.told.close()
        self.process.close()


@dataclass
class World:
    directory: Path
    database_url: str
    store: Store
    # The provider's, which is the own card of its tenant.
    lent: Card
    # The operator's.
    hosted: Card
    agents: tuple[AgentView, ...]
    limits: Limits
    lives: int = 0

    def __post_init__(self) -> None:
        for each in (self.lent, self.hosted):
            each.served.clear()
            each.checkpointed = partial(_checkpoint, self.store)

    def over(self, store: Store) -> "World":
        """The same cards, which forget what they served, with another database."""
        url = store.url.render_as_string(hide_password=False)
        return replace(self, database_url=url, store=store)

    @property
    def planned(self) -> Path:
        """The calls that were planned in the present life."""
        return self.directory / f"planned-{self.lives}"

    @asynccontextmanager
    async def life(self, kill: KillAt | None = None) -> AsyncIterator[Child]:
        """A control plane, ready; dead at the block's end."""
        self.lives += 1
        ours, theirs = _processes.Pipe()
        told = Life(self.database_url, self.agents, self.limits, self.planned, kill)
        process = _processes.Process(target=live, args=(told, theirs))
        process.start()
        theirs.close()
        child = Child(process, ours)
        try:
            assert await child.ready()
            yield child
        finally:
            await child.kill()

    def read(self, query: Callable[[Session], T]) -> T:
        with self.store.reading() as session:
            return query(session)

    def receipts(self) -> Receipts:
        return self.lent.receipts(), self.hosted.receipts()


async def recovered(database_url: str, receipts: Receipts) -> None:
    """A process comes, looks around until all is ended, and goes."""
    process = _processes.Process(target=recover, args=(Recovery(database_url, receipts),))
    process.start()
    await asyncio.to_thread(process.join, RECOVERY_TIMEOUT_S)
    assert process.exitcode == 0, "see what it printed"
    process.close()


@contextmanager
def copy_of(database: Path, to: Path) -> Iterator[Store]:
    """Of a SQLite database as a killed process left it, its journal included. Nobody may be writing."""
    to.mkdir()
    for suffix in ("", "-wal"):
        source = Path(f"{database}{suffix}")
        if source.exists():
            shutil.copyfile(source, to / f"daalu.db{suffix}")
    store = Store(f"sqlite:///{to / 'daalu.db'}")
    try:
        yield store
    finally:
        store.close()
        shutil.rmtree(to)


@asynccontextmanager
async def world(database_url: str, directory: Path, limits: Limits) -> AsyncIterator[World]:
    """An operator's card and a provider's, lent to one pool that a consumer uses."""
    store = Store(database_url)

    async with AsyncExitStack() as stack:
        stack.callback(store.close)
        lent = await stack.enter_async_context(card("agt-lent"))
        hosted = await stack.enter_async_context(card("agt-hosted"))
        # The operator's card is the busier one: it serves what may not go to the other.
        free = engine_view(max_running_calls=256, context_tokens=10 * MONTHLY_TOKENS)
        busy = replace(free, running_calls=128)
        agents = (
            providers_card(lent.engine.port, engine=free),
            operators_card(hosted.engine.port, engine=busy),
        )
        store.migrate()
        fill(store, agents)
        open_market(store, agents, Terms(monthly_tokens=MONTHLY_TOKENS, concurrent_calls=10_000))
        yield World(directory, database_url, store, lent, hosted, agents, limits)


async def _checkpoint(store: Store, attempt_id: str) -> int:
    def query(session: Session) -> int:
        statement = select(AttemptTerms.checkpoint_completion_tokens)
        return session.exec(statement.where(AttemptTerms.attempt_id == attempt_id)).first() or 0

    return await store.read(query)
