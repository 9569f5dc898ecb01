"""The book of calls: makes records durable, and catches up on those that could not be written.

A call on its tenant's own card goes on when the store cannot be written: the owner's hardware must not
stop for our disk. Such calls are counted, bounded in number, and written later.
"""

import asyncio
import logging

from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnection

from control_plane.gateway.errors import Condition, Refusal
from control_plane.gateway.limits import Limits
from control_plane.gateway.queries import save_all
from control_plane.gateway.record import CallRecord
from control_plane.identifiers import CallId
from control_plane.store import Store, WriterClosed, WriterOverloaded

logger = logging.getLogger(__name__)

# What says "not now", in contrast to a fault of the record itself.
_UNWRITABLE = (
    InterfaceError,
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
        if record.id not in self._owed and len(self._owed) >= self._limits.unwritten_calls:
            if record.settled:
                logger.error("call %s ends without its record: too many are unwritten", record.id)
                return
            message = "calls cannot be recorded at the moment; the operator has to look at the database"
            raise Refusal(Condition.UNRECORDABLE, message)
        self._owed[record.id] = record

    async def catch_up(self) -> None:
        """Writes what is owed and has ended, oldest first, until that fails."""
        self._writable = self._writable or not self._owed
        for record in list(self._owed.values()):
            try:
                written = await self._try(record)
            except SQLAlchemyError:
                logger.exception("call %s cannot be recorded, and is given up", record.id)
                self._owed.pop(record.id, None)
                continue
            if not written:
                return
            if record.settled:
                self._owed.pop(record.id, None)
            if not self._writable:
                logger.info("the store can be written again; %d calls are owed", len(self._owed))
                self._writable = True

    async def _try(self, record: CallRecord) -> bool:
        try:
            writing = self._store.write_item(save_all, record.rows())
            # Neither our patience nor a cancelled caller ends the write: it may run all the same, does no
            # harm, and its error is known.
            done, _ = await asyncio.wait((writing,), timeout=self._limits.record_wait_s)
            if not done:
                writing.add_done_callback(_consume)
                raise TimeoutError
            writing.result()
        except _UNWRITABLE as error:
            if self._writable:
                self._writable = False
                logger.warning("calls cannot be recorded, own-card calls go on: %s", type(error).__name__)
            return False
        return True


def _consume(writing: "asyncio.Future[None]") -> None:
    if not writing.cancelled():
        writing.exception()
