"""How the writer's results reach whoever submitted a unit: a waiting thread, or an event loop."""

import asyncio
import logging
from concurrent.futures import Future
from typing import Any, Protocol

logger = logging.getLogger(__name__)

_Result = tuple["asyncio.Future[Any]", Any, BaseException | None]


class Delivery(Protocol):
    """Of one unit; all is called in the writer's thread."""

    def begin(self) -> bool:
        """False: the submitter has withdrawn the unit."""
        ...

    def succeed(self, result: Any) -> None: ...

    def fail(self, error: BaseException) -> None: ...


class ToThread:
    __slots__ = ("future",)

    def __init__(self) -> None:
        self.future: Future[Any] = Future()

    def begin(self) -> bool:
        return self.future.set_running_or_notify_cancel()

    def succeed(self, result: Any) -> None:
        self.future.set_result(result)

    def fail(self, error: BaseException) -> None:
        self.future.set_exception(error)


class ToLoop:
    """By way of the loop's inbox, together with the rest of the group."""

    __slots__ = ("_inbox", "future")

    def __init__(self, inbox: "Inbox", future: "asyncio.Future[Any]") -> None:
        self._inbox = inbox
        self.future = future

    def begin(self) -> bool:
        return not self.future.cancelled()

    def succeed(self, result: Any) -> None:
        self._inbox.put((self.future, result, None))

    def fail(self, error: BaseException) -> None:
        self._inbox.put((self.future, None, error))


class Inbox:
    """Results on their way to one event loop: it is woken once a group, not once a unit."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._results: list[_Result] = []

    @property
    def is_closed(self) -> bool:
        return self._loop.is_closed()

    def put(self, result: _Result) -> None:
        self._results.append(result)

    def deliver(self) -> None:
        if not self._results:
            return
        results, self._results = self._results, []
        try:
            self._loop.call_soon_threadsafe(_hand_out, results)
        except RuntimeError:  # the loop was closed: nobody waits
            logger.debug("an event loop ended before %d of its writes", len(results))


def _hand_out(results: list[_Result]) -> None:
    for future, result, error in results:
        if future.done():
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
