"""One thread for calls that may block for long: the driver's."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Hung(Exception):
    """The thread is busy with one call for `since_s` seconds now."""

    def __init__(self, since_s: float) -> None:
        super().__init__(f"the driver has not answered for {since_s:.0f} s")


class Work(Generic[T]):
    """What the thread is asked to do, and what came of it."""

    def __init__(self, do: Callable[[], T]) -> None:
        self.do = do
        self.future: Future[T] = Future()
        self.future.set_running_or_notify_cancel()
        self.begun_s = time.monotonic()


class Lane:
    """Does one piece of work at a time, first come first served; never more than one waits in the thread.

    A thread that hangs in the driver cannot be ended. It is a daemon thread, so that it does not keep the
    process from ending, and there is never a second one.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: threading.Thread | None = None
        self._queue: queue.SimpleQueue[Work[object] | None] = queue.SimpleQueue()
        self._current: Work[object] | None = None

    async def run(self, do: Callable[[], T], deadline_s: float) -> T:
        """What `do` returns or raises. Raises Hung after `deadline_s`; the work itself goes on."""
        ends_s = time.monotonic() + deadline_s
        while self._current is not None and not self._current.future.done():
            await self._wait(self._current, ends_s)
        work: Work[T] = Work(do)
        self._begin(work)
        await self._wait(work, ends_s)
        return work.future.result()

    def close(self) -> None:
        if self._thread is not None:
            self._queue.put(None)

    async def _wait(self, work: Work[T], ends_s: float) -> None:
        waiting = asyncio.wrap_future(work.future)
        try:
            done, _ = await asyncio.wait([waiting], timeout=max(0.0, ends_s - time.monotonic()))
        finally:
            if not waiting.done():
                waiting.cancel()
        if not done:
            raise Hung(time.monotonic() - work.begun_s)
        # What it raised is the business of whoever asked for it.
        waiting.exception()

    def _begin(self, work: Work[T]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
            self._thread.start()
        self._current = work  # type: ignore[assignment]
        self._queue.put(work)  # type: ignore[arg-type]

    def _serve(self) -> None:
        while (work := self._queue.get()) is not None:
            try:
                work.future.set_result(work.do())
            except BaseException as error:  # noqa: BLE001 - handed to whoever asked
                work.future.set_exception(error)
