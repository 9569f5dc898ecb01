"""Xid events as the driver tells them itself, for hosts whose kernel log cannot be read, such as containers.

For the driver's thread only. It tells of what happens from when it was asked on, and of no more than codes.
"""

import ctypes
import logging
from collections import deque

import pynvml

from agent.cards import fields
from agent.cards.readings import words
from agent.cards.xid import MAX_EVENTS, Event

log = logging.getLogger(__name__)

# Events that one look takes.
MAX_AT_ONCE = 64


class DriverEvents:
    """Opened with the first card that is registered. Nothing here raises for what the driver does."""

    def __init__(self) -> None:
        self._set: object | None = None
        # The driver names cards by their handles.
        self._uuids: dict[int | None, str] = {}
        # Of cards that were registered once: what was told stays known when the library is opened anew.
        self._told: dict[str, deque[Event]] = {}

    def register(self, handle: fields.Handle, uuid: str) -> None:
        """A card that cannot be registered has no events, and is not known here."""
        try:
            if self._set is None:
                self._set = pynvml.nvmlEventSetCreate()
            pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, self._set)
        except pynvml.NVMLError as error:
            log.debug("the driver tells no events of card %s: %s", uuid, words(error))
            return
        self._uuids[_address(handle)] = uuid
        self._told.setdefault(uuid, deque(maxlen=MAX_EVENTS))

    def look(self, now_unix_ms: int) -> None:
        """Takes what has come, without waiting."""
        if self._set is None:
            return
        try:
            for _ in range(MAX_AT_ONCE):
                told = pynvml.nvmlEventSetWait_v2(self._set, 0)
                uuid = self._uuids.get(_address(told.device))
                if uuid is not None and told.eventType == pynvml.nvmlEventTypeXidCriticalError:
                    self._told[uuid].append(Event(int(told.eventData), now_unix_ms, ""))
        except pynvml.NVMLError_Timeout:
            return
        except pynvml.NVMLError as error:
            log.debug("the driver's events: %s", words(error))

    def of(self, uuid: str) -> list[Event] | None:
        """None: the driver does not tell of this card."""
        told = self._told.get(uuid)
        return None if told is None else list(told)

    def close(self) -> None:
        """Before the library is closed."""
        if self._set is None:
            return
        try:
            pynvml.nvmlEventSetFree(self._set)
        except pynvml.NVMLError as error:
            log.debug("letting go of the driver's events: %s", words(error))
        self._set = None
        self._uuids.clear()


def _address(handle: fields.Handle) -> int | None:
    return ctypes.cast(handle, ctypes.c_void_p).value
