"""The driver's library from opening to closing, and what its failures mean. For the driver's thread only."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import pynvml
from daalu_wire.v1 import agent_pb2

from agent.cards import fields
from agent.cards.events import DriverEvents
from agent.cards.readings import CardLost, text_reading, words
from agent.cards.xid import KernelLog, together

log = logging.getLogger(__name__)

RETRY_FIRST_S = 1.0
RETRY_CAP_S = 30.0
# What a slow sample still counts for after each later one.
FORGETTING = 0.9


NO_LIBRARY = (
    "the NVIDIA driver's library (libnvidia-ml.so.1) is not on this host: install the NVIDIA driver, "
    "or run with a simulated card"
)
NOT_LOADED = (
    "the NVIDIA driver is installed and not loaded: `modprobe nvidia`, and see `dmesg | grep -i nvrm` "
    "if that fails"
)
# A library stays in the process that loaded it, and its driver cannot be replaced under it.
MISMATCH = (
    "the NVIDIA driver in the kernel and its library are of different versions, as after an upgrade: "
    "restart this host, or load the new driver and restart daalu-agent"
)
MISSING = "the driver does not find this card any more; if it was taken out on purpose, restart daalu-agent"
NO_CARD = (
    "the NVIDIA driver is loaded and finds no card: see `lspci | grep -i nvidia` and `dmesg | grep -i nvrm`"
)


class NvmlSession:
    """Opens the library when first asked, and again, with growing pauses, after it failed or lost a card.

    Cards that were seen once stay known: one that the driver does not find any more is lost, not forgotten.
    """

    def __init__(self, kernel_log: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """`kernel_log`: where the driver's complaints are read; None: nowhere. `clock`: monotonic seconds."""
        self._log = None if kernel_log is None else KernelLog(kernel_log)
        self._events = DriverEvents()
        # By UUID, and remembered: a card that is lost does not say any more where it sits.
        self._bus_ids: dict[str, str] = {}
        self._clock = clock
        self._open = False
        self._handles: dict[int, fields.Handle] = {}
        # Index and UUID of each card that the library counts; the UUID is empty until it could be read.
        self._uuids: dict[int, str] = {}
        # UUID and former index of each card that it counts no more.
        self._missing: dict[str, int] = {}
        self._lost: set[int] = set()
        # Seconds that each card's slow samples took, slowly forgotten.
        self._took_s: dict[int, float] = {}
        self._retry_s = RETRY_FIRST_S
        self._retry_at_s = 0.0
        # Both are read by other threads: replaced as a whole, never changed.
        self.system = agent_pb2.CardSystem()
        self.known: tuple[tuple[int, str], ...] = ()

    def inventory(self) -> tuple[agent_pb2.CardSystem, list[agent_pb2.Card]]:
        if not self._ready():
            return self.system, [fields.unread_card(*card, self.system.detail) for card in self.known]
        cards = [self._card(index) for index in sorted(self._uuids)]
        cards += [fields.unread_card(index, uuid, MISSING) for uuid, index in self._missing.items()]
        self._note_known()
        return self.system, cards

    def sample(self, publish: Callable[[agent_pb2.CardSample], None]) -> agent_pb2.CardSystem:
        """Publishes each card's sample as soon as it is there."""
        if not self._ready():
            for card in self.known:
                publish(fields.unread_sample(*card, self.system.detail))
            return self.system
        lost: set[int] = set()
        if self._log is not None:
            self._log.look()
            self._events.look(time.time_ns() // 1_000_000)
        for index in sorted(self._uuids, key=self._patience):
            begun_s = self._clock()
            sample = self._sample(index)
            took_s = self._clock() - begun_s
            self._took_s[index] = max(took_s, FORGETTING * self._took_s.get(index, 0.0))
            if sample.lost:
                lost.add(index)
            self._add_xids(sample)
            publish(sample)
        for uuid, index in self._missing.items():
            missing = fields.unread_sample(index, uuid, MISSING, lost=MISSING)
            self._add_xids(missing)
            publish(missing)
        self._note_lost(lost)
        self._note_known()
        return self.system

    def _add_xids(self, sample: agent_pb2.CardSample) -> None:
        if self._log is None:
            return
        bus_id = self._bus_ids.get(sample.uuid)
        logged = None if self._log.error or bus_id is None else self._log.of(bus_id)
        told = self._events.of(sample.uuid)
        if logged is None and told is None:
            sample.xids.error = self._log.error or "where the card sits is not known"
            return
        sample.xids.value.SetInParent()
        for event in together(logged or [], told or []):
            sample.xids.value.events.add(
                code=event.code, logged_unix_ms=event.logged_unix_ms, words=event.words
            )

    def close(self) -> None:
        """Raises nothing: a driver that is gone cannot be told."""
        self._handles.clear()
        if not self._open:
            return
        self._open = False
        self._events.close()
        try:
            pynvml.nvmlShutdown()
        except pynvml.NVMLError as error:
            log.debug("closing the NVIDIA driver's library: %s", words(error))

    def _ready(self) -> bool:
        """Opens the library where it is time to, and counts the cards."""
        due = self._clock() >= self._retry_at_s
        if due and (self._lost or self._missing):
            # A card that came back is found only by a library that was opened after that.
            self.close()
        if not self._open and not due:
            return False
        try:
            if not self._open:
                pynvml.nvmlInitWithFlags(pynvml.NVML_INIT_FLAG_NO_GPUS)
                self._open = True
            self._counted(pynvml.nvmlDeviceGetCount())
        except pynvml.NVMLError as error:
            self._fail(error)
            return False
        return True

    def _counted(self, count: int) -> None:
        if self.system.state != agent_pb2.CARD_SYSTEM_STATE_OK:
            log.info("the NVIDIA driver answers; cards: %d", count)
            self._retry_s = RETRY_FIRST_S
        if count != len(self._uuids):
            # Which card is at which index must be found out again.
            self._handles.clear()
        gone = {uuid: index for index, uuid in self._uuids.items() if uuid and index >= count}
        self._missing.update(gone)
        self._uuids = {index: self._uuids.get(index, "") for index in range(count)}
        self.system = agent_pb2.CardSystem(
            state=agent_pb2.CARD_SYSTEM_STATE_OK,
            detail="" if count or self._missing else NO_CARD,
            driver_version=text_reading(pynvml.nvmlSystemGetDriverVersion),
            nvml_version=text_reading(pynvml.nvmlSystemGetNVMLVersion),
        )

    def _patience(self, index: int) -> tuple[bool, float]:
        """Sorts cards that keep the others waiting to the end."""
        return index in self._lost, round(self._took_s.get(index, 0.0), 1)

    def _handle(self, index: int) -> fields.Handle:
        """Raises CardLost, or another NVMLError."""
        if index not in self._handles:
            handle = fields.open_handle(index)
            self._recognise(index, fields.read_uuid(handle))
            bus_id = fields.read_bus_id(handle)
            if bus_id:
                self._bus_ids[self._uuids[index]] = bus_id
            if self._log is not None:
                self._events.register(handle, self._uuids[index])
            self._handles[index] = handle
        return self._handles[index]

    def _recognise(self, index: int, uuid: str) -> None:
        """Indices move up when a card falls off the bus; UUIDs stay."""
        before = self._uuids[index]
        if not uuid or uuid == before:
            return
        self._uuids[index] = uuid
        self._missing.pop(uuid, None)
        if before and before not in self._uuids.values():
            self._missing[before] = index

    def _fail(self, error: pynvml.NVMLError) -> None:
        self.close()
        system = system_after(error)
        if system.state != self.system.state:
            log.warning("cards cannot be read: %s", system.detail)
        self.system = system
        self._lost = set()
        self._pause()

    def _pause(self) -> None:
        self._retry_at_s = self._clock() + self._retry_s
        self._retry_s = min(RETRY_CAP_S, self._retry_s * 2)

    def _note_lost(self, lost: set[int]) -> None:
        for index in sorted(lost - self._lost):
            log.warning("card %d (%s) is lost", index, self._uuids[index] or "UUID unknown")
        for index in sorted(self._lost - lost):
            log.info("card %d (%s) is back", index, self._uuids.get(index, "UUID unknown"))
        self._lost = lost
        if not lost and not self._missing:
            self._retry_s = RETRY_FIRST_S
        elif self._clock() >= self._retry_at_s:
            self._pause()

    def _note_known(self) -> None:
        missing = ((index, uuid) for uuid, index in self._missing.items())
        self.known = (*self._uuids.items(), *missing)

    def _card(self, index: int) -> agent_pb2.Card:
        try:
            handle = self._handle(index)
            return fields.read_card(handle, index, self._uuids[index])
        except (CardLost, pynvml.NVMLError) as error:
            return fields.unread_card(index, self._uuids[index], words(error))

    def _sample(self, index: int) -> agent_pb2.CardSample:
        try:
            handle = self._handle(index)
            return fields.read_sample(handle, index, self._uuids[index])
        except CardLost as lost:
            return fields.unread_sample(index, self._uuids[index], words(lost), lost=words(lost))
        except pynvml.NVMLError as error:
            return fields.unread_sample(index, self._uuids[index], words(error))


def system_after(error: Exception) -> agent_pb2.CardSystem:
    """Pure: what a failure to open the library means, in words with what to do."""
    state, detail = agent_pb2.CARD_SYSTEM_STATE_ERROR, f"the NVIDIA driver does not answer: {words(error)}"
    if isinstance(error, pynvml.NVMLError_LibraryNotFound):
        state, detail = agent_pb2.CARD_SYSTEM_STATE_NO_DRIVER, NO_LIBRARY
    elif isinstance(error, pynvml.NVMLError_DriverNotLoaded):
        state, detail = agent_pb2.CARD_SYSTEM_STATE_NO_DRIVER, NOT_LOADED
    elif isinstance(error, pynvml.NVMLError_LibRmVersionMismatch):
        state, detail = agent_pb2.CARD_SYSTEM_STATE_DRIVER_MISMATCH, MISMATCH
    return agent_pb2.CardSystem(state=state, detail=detail)
