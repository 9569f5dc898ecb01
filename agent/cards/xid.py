"""The driver's complaints in the kernel's log, called Xid: read as they come, kept by card.

A record of /dev/kmsg is `priority,sequence,microseconds,flags;text`, and the driver's text is
`NVRM: Xid (PCI:0000:01:00): 79, pid=1234, name=python, GPU has fallen off the bus.`
"""

import contextlib
import os
import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

KERNEL_LOG = Path("/dev/kmsg")
MAX_EVENTS = 16
# Cards that complain; a host has no more.
MAX_CARDS = 64
MAX_WORDS_CHARACTERS = 200
# The same code from both sources within this is one event: a look is made every few seconds.
SAME_MS = 15_000
# The kernel's own limit on a record with its dictionary.
RECORD_BYTES = 8192
# Records that one look takes: the kernel's whole ring is some tens of thousands.
MAX_RECORDS = 4_000

_RECORD = re.compile(
    r"\d+,\d+,(?P<microseconds>\d+),[^;]*;NVRM: Xid \(PCI:(?P<address>[0-9a-fA-F:.]{7,16})\): "
    r"(?P<code>\d{1,4}),? ?(?P<words>.*)"
)


@dataclass(frozen=True, slots=True)
class Xid:
    """`address`: domain, bus and device, as 0000:01:00. `at_s`: since the host booted."""

    address: str
    code: int
    at_s: float
    words: str


@dataclass(frozen=True, slots=True)
class Event:
    """One complaint about one card; `words` empty: nothing more than the code is known."""

    code: int
    logged_unix_ms: int
    words: str


def together(logged: list[Event], told: list[Event]) -> list[Event]:
    """What the kernel's log and the driver itself have, each once; the newest last. Pure."""
    unlogged = [
        event
        for event in told
        if not any(
            event.code == other.code and abs(event.logged_unix_ms - other.logged_unix_ms) < SAME_MS
            for other in logged
        )
    ]
    return sorted([*logged, *unlogged], key=lambda event: event.logged_unix_ms)[-MAX_EVENTS:]


def parse(record: str) -> Xid | None:
    """None: it is no complaint of the driver's. Pure."""
    found = _RECORD.match(record)
    if found is None:
        return None
    words = "".join(char for char in found["words"] if char.isprintable())[:MAX_WORDS_CHARACTERS]
    return Xid(_address(found["address"]), int(found["code"]), int(found["microseconds"]) / 1e6, words)


def boot_unix_s() -> float:
    """When the kernel's log began to count."""
    return time.time() - time.clock_gettime(time.CLOCK_MONOTONIC)


class KernelLog:
    """For one thread. Neither opening nor reading it waits; a log that cannot be had is a reading's error."""

    def __init__(self, path: Path, boot_unix_s: Callable[[], float] = boot_unix_s) -> None:
        self._path = path
        self._boot_unix_s = boot_unix_s
        self._descriptor: int | None = None
        self._error = ""
        self._by_address: dict[str, deque[Xid]] = {}

    def look(self) -> None:
        """Takes what has come since the last look."""
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            self._error = ""
            self._read(self._descriptor)
        except OSError as error:
            self._error = f"{self._path} cannot be read: {error.strerror} (the daemon runs as root)"
            self.close()

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @property
    def error(self) -> str:
        """Why nothing is known of any card; empty: the log can be read."""
        return self._error

    def of(self, pci_bus_id: str) -> list[Event]:
        """Of the card at this address, as the driver writes it; the newest last."""
        begun_s = self._boot_unix_s()
        found = self._by_address.get(_address(pci_bus_id), ())
        return [Event(xid.code, int((begun_s + xid.at_s) * 1000), xid.words) for xid in found]

    def _read(self, descriptor: int) -> None:
        for _ in range(MAX_RECORDS):
            try:
                data = os.read(descriptor, RECORD_BYTES)
            except BlockingIOError:
                return
            except BrokenPipeError:
                # The kernel's ring went over what was not read yet; the next read goes on behind it.
                continue
            if not data:
                return
            for line in data.decode(errors="replace").splitlines():
                xid = parse(line)
                if xid is not None:
                    self._note(xid)

    def _note(self, xid: Xid) -> None:
        if xid.address not in self._by_address and len(self._by_address) >= MAX_CARDS:
            return
        self._by_address.setdefault(xid.address, deque(maxlen=MAX_EVENTS)).append(xid)


def _address(bus_id: str) -> str:
    """Domain, bus and device, however it is written: 00000000:01:00.0 and 0000:01:00 are one."""
    domain, _, rest = bus_id.lower().partition(":")
    with contextlib.suppress(ValueError):
        domain = f"{int(domain, 16):04x}"
    return f"{domain}:{rest.partition('.')[0]}"
