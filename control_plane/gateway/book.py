"""The book of calls: makes records and holds durable, and catches up on those that could not be written.

A call on its tenant's own card goes on when the store cannot be written: the owner's hardware must not
stop for our disk. Such calls are counted, bounded in number, and written later. Where money is in it there
is no such mercy: no hold, no call; and no end marker before the settlement.
"""

import asyncio
import logging
from dataclasses import replace
from typing import Any, TypeVar

from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection

from control_plane.economy import Held, NewTerms, NothingHeld, QuotaExceeded, Tokens, Voided, checkpoint
from control_plane.gateway.errors import Condition, Refusal
from control_plane.gateway.limits import Limits
from control_plane.gateway.queries import reserve_all, save_all
from control_plane.gateway.record import CallRecord
from control_plane.identifiers import AttemptId, CallId
from control_plane.store import Store, WriterClosed, WriterOverloaded
from control_plane.store.tables import Tier

logger = logging.getLogger(__name__)

T = TypeVar("T")

# What says "not now", in contrast to a fault of the record itself.
_UNWRITABLE = (
    InterfaceError,
    # A server that has become read-only says it so.
    InternalError,
    NoConnection,
    OperationalError,
    TimeoutError,
    WriterClosed,
    WriterOverloaded,
)


class Book:
    def __init__(self, store: Store, limits: Limits) -> None:
        self._store = store
        self._limits = limits
        # Records that the store owes a row to, running or ended.
        self._owed: dict[CallId, CallRecord] = {}
        self._writable = True

    @property
    def unwritten_count(self) -> int:
        return len(self._owed)

    async def write(self, record: CallRecord) -> None:
        """Returns when `record` is durable as it is now, or, where the store cannot be written, when it is
        owed. Raises Refusal when too much is owed already."""
        if self._writable and await self._try(record):
            self._owed.pop(record.id, None)
            return
        if not record.attempts and record.settled:
            logger.warning("call %s was refused, which cannot be recorded now", record.id)
            return
        if record.id not in self._owed and self._owed_without_money >= self._limits.unwritten_calls:
            if record.settled:
                logger.error("call %s ends without its record: too many are unwritten", record.id)
                return
            raise _unrecordable()
        self.owe(record)

    async def reserve(self, record: CallRecord, terms: NewTerms) -> Held | QuotaExceeded:
        """Returns when the hold and the attempt under it are durable, or nothing was written. Raises Refusal
        where the store cannot be written."""
        try:
            item = (terms, record.entry())
            # Given up, it must not be written behind the void that then follows.
            return await self._within_patience(self._store.write_item(reserve_all, item), withdraw=True)
        except _UNWRITABLE as error:
            self._is_unwritable(error)
            raise _unrecordable() from None

    async def settle(self, record: CallRecord) -> bool:
        """Whether the end of a call and of its hold is durable. Where it is not, the record is owed, beyond
        the bound if need be: money is in it. Except where another process took this one for dead and gave
        the hold back: then nothing can be settled any more, and the reaper closes the call."""
        try:
            written = await self._try(record)
        except NothingHeld:
            logger.warning("call %s came to its end when its hold had been given back", record.id)
            self._owed.pop(record.id, None)
            return False
        if written:
            self._owed.pop(record.id, None)
            return True
        if isinstance(record.ending, Voided) and len(self._owed) >= self._limits.unwritten_calls:
            # No money is in it: the reaper gives back whatever was held.
            logger.warning("call %s ends without its record: too many are unwritten", record.id)
            return False
        record.end_is_late = True
        self.owe(record)
        return False

    async def checkpoint(self, attempt_id: AttemptId, tokens: Tokens) -> None:
        """Makes an open hold's running usage durable; not now is no fault, the next one comes soon."""
        try:
            await self._store.write(lambda session: checkpoint(session, attempt_id, tokens))
        except _UNWRITABLE as error:
            self._is_unwritable(error)

    async def catch_up(self) -> None:
        """Writes what is owed and has ended, oldest first, until that fails."""
        self._writable = self._writable or not self._owed
        for record in list(self._owed.values()):
            # As it is written: what ends meanwhile is owed still.
            settled, ending = record.settled, record.ending
            try:
                written = await self._try(record)
            except Exception:
                # Whatever it is that one record has, the others are written.
                logger.exception("call %s cannot be recorded, and is given up", record.id)
                self._owed.pop(record.id, None)
                continue
            if not written:
                return
            if settled and record.ending is ending:
                self._owed.pop(record.id, None)
            if not self._writable:
                logger.info("the store can be written again; %d calls are owed", len(self._owed))
                self._writable = True

    async def _try(self, record: CallRecord) -> bool:
        try:
            await self._within_patience(self._store.write_item(save_all, record.entry()))
        except _UNWRITABLE as error:
            self._is_unwritable(error)
            return False
        return True

    def owe(self, record: CallRecord) -> None:
        """Has `record` written, as it is then, when the store can be written again."""
        if record.settled:
            # Its texts are of no use any more, and there may be many.
            record.request = replace(record.request, body={})
        self._owed[record.id] = record

    @property
    def _owed_without_money(self) -> int:
        return sum(record.attempts[-1].tier is Tier.OWN for record in self._owed.values() if record.attempts)

    async def _within_patience(self, writing: "asyncio.Future[T]", *, withdraw: bool = False) -> T:
        """Neither our patience nor a cancelled caller ends the write: it may run all the same, does no harm,
        and its error is known. `withdraw`: one that has not begun never does then."""
        # As asyncio.wait does for one future, at a third of its cost; every call comes here twice.
        loop = asyncio.get_running_loop()
        woken = loop.create_future()

        def wake(_: object = None) -> None:
            if not woken.done():
                woken.set_result(None)

        writing.add_done_callback(wake)
        timer = loop.call_later(self._limits.record_wait_s, wake)
        try:
            await woken
        finally:
            timer.cancel()
            writing.remove_done_callback(wake)
            if not writing.done():
                if withdraw:
                    writing.cancel()
                writing.add_done_callback(_consume)
        if not writing.done() or writing.cancelled():
            raise TimeoutError
        return writing.result()

    def _is_unwritable(self, error: Exception) -> None:
        if self._writable:
            self._writable = False
            logger.warning("calls cannot be recorded, own-card calls go on: %s", type(error).__name__)


def _unrecordable() -> Refusal:
    message = "calls cannot be recorded at the moment; the operator has to look at the database"
    return Refusal(Condition.UNRECORDABLE, message, headers={"retry-after": "5"})


def _consume(writing: "asyncio.Future[Any]") -> None:
    if not writing.cancelled():
        writing.exception()
