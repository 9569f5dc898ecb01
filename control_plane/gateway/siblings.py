"""The gateways that serve from one store: they share the limits per minute, and one ends what another's death
left open.

Before its own count is known a process takes itself for the only one. Holds that no living process can be
serving are settled by what is known of them, or given back (DESIGN's reaper).
"""

import asyncio
import logging
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from control_plane.economy import reap_holds
from control_plane.identifiers import new_process_id
from control_plane.store import Store, WriterClosed, WriterOverloaded, beat, end, unix_ms

logger = logging.getLogger(__name__)

BEAT_EVERY_S = 5.0
# How long after its start a process waits for agents' receipts of what was cut off, before it makes do with
# the last checkpoint.
RECEIPTS_WAIT_S = 120.0
# Longer than any call: a hold as old as that is an orphan even where its process lives.
LONGEST_CALL_S = 7_200.0
HOLDS_AT_ONCE = 500


class Siblings:
    """One per process. run() is to run for as long as it serves."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._id = new_process_id()
        self._started_unix_ms = unix_ms()
        self._oldest_start_unix_ms = 0
        # Gateways that live, this one included.
        self.count = 1

    @property
    def orphaned_before_unix_ms(self) -> int:
        """What began before it is served by nobody. 0: not known yet."""
        if not self._oldest_start_unix_ms:
            return 0
        return max(self._oldest_start_unix_ms, unix_ms() - int(LONGEST_CALL_S * 1000))

    async def run(self) -> None:
        """Until cancelled; says then that this process ended."""
        try:
            while True:
                await self._look()
                await asyncio.sleep(BEAT_EVERY_S)
        finally:
            await asyncio.shield(self._say_goodbye())

    async def look(self) -> None:
        """One beat, and the reaping that follows from it. Raises what the store raises."""
        now = unix_ms()
        living = await self._store.write(
            partial(beat, process_id=self._id, started_unix_ms=self._started_unix_ms, now_unix_ms=now)
        )
        self.count, self._oldest_start_unix_ms = living.count, living.oldest_start_unix_ms
        waited = now - self._started_unix_ms >= RECEIPTS_WAIT_S * 1000
        reaped = await self._store.write(
            partial(
                reap_holds,
                now_unix_ms=now,
                orphaned_before_unix_ms=self.orphaned_before_unix_ms,
                give_up_before_unix_ms=self.orphaned_before_unix_ms if waited else 0,
                limit=HOLDS_AT_ONCE,
            )
        )
        if reaped.settled or reaped.voided:
            logger.warning(
                "holds that a crash left open: %d settled, %d given back", reaped.settled, reaped.voided
            )

    async def _look(self) -> None:
        try:
            await self.look()
        except Exception:
            # Whatever it is that one row has: the part that all calls need goes on.
            logger.exception("the other gateways are not known now, or holds not reaped; trying again")

    async def _say_goodbye(self) -> None:
        try:
            await self._store.write(partial(end, process_id=self._id, now_unix_ms=unix_ms()))
        except (SQLAlchemyError, WriterClosed, WriterOverloaded) as error:
            logger.warning("this process ends without a word in the store: %s", error)
