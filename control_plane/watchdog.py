"""A deadline that costs two assignments a wait: its timer is only moved when it fires too early."""

import asyncio
from collections.abc import Callable


class Watchdog:
    """Calls `expire` when one wait lasts longer than its limit. For waits that follow one another closely."""

    __slots__ = ("_deadline", "_expire", "_loop", "_timer", "_wakes_at")

    def __init__(self, expire: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._expire = expire
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = 0.0

    def begin(self, limit_s: float) -> None:
        deadline = self._loop.time() + limit_s
        self._deadline = deadline
        if self._timer is None or self._wakes_at > deadline:
            self._set_timer(deadline)

    def end(self) -> None:
        self._deadline = None

    def stop(self) -> None:
        self._deadline = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._wakes_at = at
        self._timer = self._loop.call_at(at, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self._loop.time() < self._deadline:
            self._set_timer(self._deadline)
            return
        self._deadline = None
        self._expire()
