"""Follows load tests to their end, whoever asked for them and whether or not they still look."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError

from control_plane.access import Invalid
from control_plane.fleet.load_test.client import ClientFailed, LoadClient
from control_plane.fleet.load_test.queries import (
    LEASE_MS,
    add_step,
    begin,
    cancel_load_test,
    end,
    live_on,
    reap,
)
from control_plane.fleet.load_test.sweep import Sweep, loadable_engine
from control_plane.fleet.view import FleetView
from control_plane.identifiers import AgentId, LoadTestId, new_load_test_id
from control_plane.store import Store, WriterClosed, WriterOverloaded

logger = logging.getLogger(__name__)

BEAT_S = LEASE_MS / 1000 / 6
# A client is a Python with vLLM in it: half a gigabyte, and a core while it is busy.
MOST_AT_ONCE = 2


class Fleet(Protocol):
    """What is needed of the fleet."""

    @property
    def view(self) -> FleetView: ...


class _Cancelled(Exception):
    """The test is to go no further."""


class LoadTests:
    """One per process. `run` owns what is under way."""

    def __init__(
        self,
        store: Store,
        fleet: Fleet,
        client: LoadClient | None,
        refresh: Callable[[], Awaitable[None]],
    ) -> None:
        """`client` None: load tests are refused. `refresh`: makes a change of keys known to this process."""
        self._store = store
        self._fleet = fleet
        self._client = client
        self._refresh = refresh
        self._tasks: asyncio.TaskGroup | None = None
        self._under_way: dict[LoadTestId, asyncio.Event] = {}

    async def run(self) -> None:
        """Until cancelled; that ends what is under way, and says so in its record."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            while True:
                try:
                    await self._store.write(reap)
                except (SQLAlchemyError, WriterOverloaded):
                    logger.exception("lost load tests could not be ended, trying again")
                await asyncio.sleep(LEASE_MS / 1000)

    async def start(self, agent_id: AgentId, sweep: Sweep, actor: str) -> LoadTestId:
        """Returns once it is on record. Raises Invalid, Unknown, Duplicate."""
        if self._tasks is None:
            raise RuntimeError("run() does not run")
        client = self._client
        if client is None:
            raise Invalid(
                "no load client is set up: install vLLM in an environment of its own and give its Python to"
                " daalu serve as --load-client"
            )
        sweep.check()
        engine = loadable_engine(self._fleet.view.by_id.get(agent_id), sweep)
        tokenizer = client.tokenizer(engine.model_id)
        if not await asyncio.to_thread((tokenizer / "tokenizer.json").exists):
            raise Invalid(
                f"inputs of a fixed length need the model's tokenizer: put its files into {tokenizer}"
            )
        if len(self._under_way) >= MOST_AT_ONCE:
            raise Invalid(f"{MOST_AT_ONCE} load tests are under way: wait for one to end")
        test_id = new_load_test_id()
        cancelled = self._under_way[test_id] = asyncio.Event()
        try:
            key = await self._store.write(
                partial(
                    begin,
                    test_id=test_id,
                    agent_id=agent_id,
                    model_id=engine.model_id,
                    sweep=sweep,
                    actor=actor,
                )
            )
            following = self._follow(
                client, test_id, sweep, (engine.model_id, engine.served_name, key.text), cancelled
            )
            self._tasks.create_task(following, name=f"load test {test_id}")
        except BaseException:
            del self._under_way[test_id]
            raise
        return test_id

    async def cancel(self, test_id: str, actor: str) -> None:
        """Its key is no good once this returns. Raises Unknown."""
        await self._store.write(partial(cancel_load_test, test_id=test_id, actor=actor))
        await self._refresh()
        event = self._under_way.get(LoadTestId(test_id))
        if event is not None:
            event.set()

    async def _follow(
        self,
        client: LoadClient,
        test_id: LoadTestId,
        sweep: Sweep,
        engine_and_key: tuple[str, str, str],
        cancelled: asyncio.Event,
    ) -> None:
        # Where nothing else is said: this task was cancelled.
        error: str | None = "the control plane was stopped"
        try:
            await self._refresh()
            async with asyncio.timeout(sweep.duration_s), asyncio.TaskGroup() as tasks:
                beating = tasks.create_task(self._beat(test_id, cancelled))
                await self._take(client, test_id, sweep, engine_and_key)
                beating.cancel()
            error = None
        except TimeoutError:
            error = f"it did not end within {sweep.duration_s} s"
        except ExceptionGroup as group:
            error = _in_words(test_id, group)
        except (SQLAlchemyError, WriterOverloaded, WriterClosed):
            logger.exception("load test %s could not begin", test_id)
            error = "the store could not be used; the control plane's log has the details"
        finally:
            del self._under_way[test_id]
            await asyncio.shield(self._end(test_id, error))

    async def _take(
        self, client: LoadClient, test_id: LoadTestId, sweep: Sweep, engine_and_key: tuple[str, str, str]
    ) -> None:
        model_id, served_name, key = engine_and_key
        steps = client.run(sweep, model_id=model_id, served_name=served_name, key=key)
        async with aclosing(steps):
            async for step in steps:
                await self._store.write(partial(add_step, test_id=test_id, step=step))

    async def _beat(self, test_id: LoadTestId, cancelled: asyncio.Event) -> None:
        """Raises _Cancelled."""
        while True:
            try:
                await asyncio.wait_for(cancelled.wait(), BEAT_S)
            except TimeoutError:
                if await self._store.write(lambda session: live_on(session, test_id)):
                    continue
            raise _Cancelled

    async def _end(self, test_id: LoadTestId, error: str | None) -> None:
        try:
            await self._store.write(partial(end, test_id=test_id, error=error))
            await self._refresh()
        except (SQLAlchemyError, WriterOverloaded, WriterClosed) as failure:
            # Its key ends with its lease, and the next process writes its end.
            logger.error("the end of load test %s cannot be recorded: %s", test_id, failure)  # noqa: TRY400


def _in_words(test_id: LoadTestId, group: ExceptionGroup[Exception]) -> str:
    for error in group.exceptions:
        if isinstance(error, _Cancelled):
            return "cancelled"
        if isinstance(error, ClientFailed):
            return str(error)
    logger.error("load test %s broke", test_id, exc_info=group)
    return "it could not be followed; the control plane's log has the details"
