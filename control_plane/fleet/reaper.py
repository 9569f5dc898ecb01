"""The reaper: looks now and then for calls whose own process is gone, and ends them by the orphans' rule."""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial

from sqlmodel import Session

from control_plane.fleet.orphans import (
    close_lost,
    complete_from_receipts,
    end_with_their_holds,
    running_with_receipt,
)
from control_plane.store import Store, unix_ms

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 15.0
# From a receipt's coming to the settlement by whoever serves the call. A client that reads slowly delays
# that: it has this long for the 256 KiB that the gateway reads ahead.
SETTLE_GRACE_S = 120.0
# How long a process that has just started waits for agents' receipts of what was cut off.
RECEIPTS_WAIT_S = 120.0
# More than the longest call takes.
LONGEST_CALL_S = 7_200.0
AT_ONCE = 500


class Reaper:
    """One per process; several over one store do no harm. Times are monotonic seconds."""

    def __init__(self, store: Store, orphaned_before_unix_ms: Callable[[], int] = lambda: 0) -> None:
        """What began before `orphaned_before_unix_ms` is served by no living process, so needs no grace."""
        self._store = store
        self._orphaned_before_unix_ms = orphaned_before_unix_ms
        # Since when these attempts have had their receipt and run on, as far as this process saw.
        self._since_s: dict[str, float] = {}
        self._first_look_s: float | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.look(time.monotonic())
            except Exception:
                # Whatever it is that one row has: the part that all calls need goes on.
                logger.exception("lost calls cannot be ended, trying again")
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self, now_s: float) -> None:
        """Raises what the store raises."""
        orphaned = await self._store.read(
            partial(
                running_with_receipt,
                limit=AT_ONCE,
                started_before_unix_ms=self._orphaned_before_unix_ms(),
            )
        )
        waiting = await self._store.read(partial(running_with_receipt, limit=AT_ONCE))
        self._since_s = {each: self._since_s.get(each, now_s) for each in waiting}
        late = {each for each, since_s in self._since_s.items() if now_s - since_s >= SETTLE_GRACE_S}
        late.update(orphaned)
        if late:
            ended = await self._store.write(partial(complete_from_receipts, attempt_ids=late))
            logger.warning("%d calls whose process is gone were completed from receipts", ended)
        if self._first_look_s is None:
            self._first_look_s = now_s
        waited = now_s - self._first_look_s >= RECEIPTS_WAIT_S
        closed = await self._store.write(partial(self._close, unix_ms(), waited=waited))
        if closed:
            logger.warning("%d calls whose process is gone were closed", closed)

    def _close(self, now_unix_ms: int, session: Session, *, waited: bool) -> int:
        """A unit of work; returns how many calls ended."""
        longest = now_unix_ms - int(LONGEST_CALL_S * 1000)
        orphaned = max(longest, self._orphaned_before_unix_ms())
        ended = end_with_their_holds(session, now_unix_ms=now_unix_ms, limit=AT_ONCE)
        session.flush()
        return ended + close_lost(
            session,
            now_unix_ms=now_unix_ms,
            started_before_unix_ms=orphaned if waited else longest,
            call_started_before_unix_ms=orphaned,
        )
