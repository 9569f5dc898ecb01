"""The writer: one thread that commits whatever is waiting as one transaction.

Durability costs one flush of the disk for each commit, not for each call: while one group is being
flushed, the next one gathers. Nobody waits for a timer.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

from sqlalchemy import Engine
from sqlmodel import Session

from control_plane.store.delivery import Delivery, Inbox, ToLoop, ToThread

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

# A group this large is flushed without taking more: it bounds the wait of its first member.
MAX_GROUP = 256
# Units waiting beyond this many are refused, so that a stuck disk does not become a full memory.
MAX_WAITING = 20_000
# A group is repeated without its failing unit this often; then what is left runs one by one. Without
# the limit a group of failing units would be repeated as often as it is long.
MAX_REPEATS = 3


class WriterOverloaded(Exception):
    """Too many units wait for the disk."""


class WriterClosed(Exception):
    """The store was closed."""


@dataclass(slots=True)
class _Job:
    delivery: Delivery
    unit: Callable[[Session], Any] | None = None
    # In place of a unit: one of the items that `save_all` writes together.
    save_all: Callable[[Session, list[Any]], Sequence[Any]] | None = None
    item: Any = None


class _UnitFailed(Exception):
    """One unit of a group raised, or one batch of items; its error is the cause."""

    def __init__(self, index: int, end: int) -> None:
        super().__init__(f"units {index} to {end - 1} of the group")
        self.index = index
        self.end = end


class Writer:
    """Owns the only connection that writes, and the thread that uses it."""

    def __init__(self, engine: Engine, *, max_waiting: int = MAX_WAITING) -> None:
        self._engine = engine
        self._max_waiting = max_waiting
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        # Replaced whole, never changed: the thread iterates over it.
        self._inboxes: dict[asyncio.AbstractEventLoop, Inbox] = {}
        self._admission = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, unit: Callable[[Session], T]) -> Future[T]:
        """Queues `unit`. The future resolves after its commit, or with the unit's own exception.

        Cancelling the future before its group was taken withdraws the unit; later it changes nothing.
        Raises WriterOverloaded or WriterClosed; the unit then never runs.
        """
        delivery = ToThread()
        self._put(_Job(delivery, unit))
        return delivery.future

    def submit_awaited(self, unit: Callable[[Session], T]) -> "asyncio.Future[T]":
        """`submit` for the running event loop."""
        delivery = self._to_loop()
        self._put(_Job(delivery, unit))
        return delivery.future

    def submit_item(
        self, save_all: Callable[[Session, list[T]], Sequence[R]], item: T
    ) -> "asyncio.Future[R]":
        """`submit_awaited` for a unit that does `save_all(session, [item])` and returns its one result: the
        items of a group with the same `save_all` are one call of it, in the order in which they came.

        Items of different functions may change places in their group, but not with a unit: who needs an
        order waits for the first, or withdraws it.
        """
        delivery = self._to_loop()
        self._put(_Job(delivery, save_all=save_all, item=item))
        return delivery.future

    def _to_loop(self) -> ToLoop:
        loop = asyncio.get_running_loop()
        inbox = self._inboxes.get(loop)
        if inbox is None:
            inbox = Inbox(loop)
            with self._admission:
                open_ones = {each: known for each, known in self._inboxes.items() if not known.is_closed}
                self._inboxes = {**open_ones, loop: inbox}
        return ToLoop(inbox, loop.create_future())

    def _put(self, job: _Job) -> None:
        # Under the lock, so that nothing is queued behind the mark that ends the thread.
        with self._admission:
            if self._closed:
                raise WriterClosed("the store is closed")
            if self._jobs.qsize() >= self._max_waiting:
                raise WriterOverloaded(f"{self._max_waiting} writes are waiting for the database")
            self._jobs.put(job)

    def close(self) -> None:
        """Ends the thread once everything queued is committed. Again: nothing."""
        with self._admission:
            if self._closed:
                return
            self._closed = True
            self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        last = False
        while not last and (job := self._jobs.get()) is not None:
            group, last = self._gather(job)
            taken = _arranged([job for job in group if job.delivery.begin()])
            if taken:
                self._commit(taken)
                for inbox in self._inboxes.values():
                    inbox.deliver()

    def _gather(self, first: _Job) -> tuple[list[_Job], bool]:
        """The group that `first` leads, and whether the end of the queue was met."""
        group = [first]
        while len(group) < MAX_GROUP:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return group, False
            if job is None:
                return group, True
            group.append(job)
        return group, False

    def _commit(self, group: list[_Job]) -> None:
        """Commits the group; a unit that fails is repeated alone, so that one failure stays one."""
        alone: list[_Job] = []
        for _ in range(MAX_REPEATS):
            if not group:
                break
            try:
                results = self._transact(group)
            except _UnitFailed as failure:
                # Which item of a batch failed is not known: each of them is repeated alone.
                alone += group[failure.index : failure.end]
                del group[failure.index : failure.end]
            except Exception as error:  # noqa: BLE001 - begin or commit: handed to every submitter
                _reject(group, error)
                group = []
            else:
                _resolve(group, results)
                group = []
        if alone:
            logger.debug("units repeated alone: %d", len(group) + len(alone))
        for job in group + alone:
            self._commit_one(job)

    def _commit_one(self, job: _Job) -> None:
        try:
            results = self._transact([job])
        except _UnitFailed as failure:
            _reject([job], failure.__cause__ or failure)
        except Exception as error:  # noqa: BLE001 - begin or commit: handed to the submitter
            _reject([job], error)
        else:
            _resolve([job], results)

    def _transact(self, group: list[_Job]) -> list[Any]:
        # What a unit returns is read after its session is gone.
        with Session(self._engine, expire_on_commit=False) as session:
            # Begins now, so that a database that cannot be had is not taken for a unit's failure.
            connection = session.connection()
            results: list[Any] = []
            while (index := len(results)) < len(group):
                job, end = group[index], _batch_end(group, index)
                try:
                    if job.save_all is not None:
                        results += _saved(job.save_all, session, [member.item for member in group[index:end]])
                    elif job.unit is not None:
                        results.append(job.unit(session))
                    session.flush()
                except Exception as error:
                    raise _UnitFailed(index, end) from error
            try:
                session.commit()
            except Exception:
                # A failed COMMIT can leave the transaction open on the connection, and the pool would hand
                # it to the next group, whose commit would then keep what was just refused.
                connection.invalidate()
                raise
            return results


def _arranged(group: list[_Job]) -> list[_Job]:
    """With the items of one function side by side, in the place of the first; units stay where they are."""
    arranged: list[_Job] = []
    batches: dict[Any, list[_Job]] = {}
    for job in group:
        if job.save_all is not None:
            batches.setdefault(job.save_all, []).append(job)
            continue
        arranged += [*chain.from_iterable(batches.values()), job]
        batches.clear()
    return [*arranged, *chain.from_iterable(batches.values())]


def _saved(
    save_all: Callable[[Session, list[Any]], Sequence[Any]], session: Session, items: list[Any]
) -> Sequence[Any]:
    results = save_all(session, items)
    if len(results) != len(items):
        raise TypeError(f"{len(items)} items were written together, with {len(results)} results")
    return results


def _batch_end(group: list[_Job], index: int) -> int:
    """The end of the batch that begins at `index`; a unit is a batch of its own."""
    save_all, end = group[index].save_all, index + 1
    while save_all is not None and end < len(group) and group[end].save_all == save_all:
        end += 1
    return end


def _resolve(group: list[_Job], results: list[Any]) -> None:
    for job, result in zip(group, results, strict=True):
        job.delivery.succeed(result)


def _reject(group: list[_Job], error: BaseException) -> None:
    for job in group:
        job.delivery.fail(error)
