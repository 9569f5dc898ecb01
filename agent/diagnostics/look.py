"""Looking at the host: the kernel's small files, the disk, the way to the hub. All of it blocks."""

import contextlib
import os
import select
import socket
import time
from collections.abc import Iterable
from pathlib import Path

from daalu_wire.v1 import agent_pb2

from agent.diagnostics.judge_cards import PciLink
from agent.diagnostics.judge_host import OVERHEAD_BYTES, Disk, PathMtu
from agent.identity import split_endpoint

PCI_DEVICES = Path("/sys/bus/pci/devices")
NETWORK_INTERFACES = Path("/sys/class/net")
MEMINFO = Path("/proc/meminfo")
FLUSHED_BYTES = 4096
# For word from a router that a datagram was too large.
MTU_ANSWER_TIMEOUT_S = 0.5
_UDP_HEADER_BYTES = 8
_IP_HEADER_BYTES = {4: 20, 6: 40}
# linux/in.h and in6.h; Python has no names for them.
_MTU_DISCOVER = {4: (socket.IPPROTO_IP, 10), 6: (socket.IPPROTO_IPV6, 23)}
_ALWAYS = 2
_MTU = {4: (socket.IPPROTO_IP, 14), 6: (socket.IPPROTO_IPV6, 24)}


def pci_links(cards: Iterable[agent_pb2.Card], devices: Path = PCI_DEVICES) -> dict[str, PciLink]:
    """By UUID, of those cards that the kernel knows at the address that the driver gives."""
    found = {}
    for card in cards:
        directory = devices / _pci_address(card.pci_bus_id.value)
        if card.pci_bus_id.value and directory.is_dir():
            found[card.uuid] = PciLink(
                str(directory),
                _text(directory / "current_link_speed"),
                _text(directory / "max_link_speed"),
                _number(directory / "current_link_width"),
                _number(directory / "max_link_width"),
            )
    return found


def disk(path: Path, *, flush: bool = False) -> Disk:
    """Of the nearest directory that is there. `flush`: also writes a small file there. Raises OSError."""
    while not path.is_dir():
        path = path.parent
    found = os.statvfs(path)
    flush_s = _flush(path) if flush else None
    return Disk(str(path), found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize, flush_s)


def memory(meminfo: Path = MEMINFO) -> tuple[int, int, int]:
    """Total, available and free swap, in bytes. Raises OSError, ValueError."""
    lines = (line.split() for line in meminfo.read_text().splitlines())
    kib = {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) >= 2}
    try:
        total, available, swap = (kib[name] * 1024 for name in ("MemTotal", "MemAvailable", "SwapFree"))
    except KeyError as error:
        raise ValueError(f"{meminfo} has no {error}") from error
    return total, available, swap


def interface_mtu(name: str, interfaces: Path = NETWORK_INTERFACES) -> int:
    """Raises OSError, ValueError."""
    return int((interfaces / name / "mtu").read_text())


def path_mtu(endpoint: str, tunnel_bytes: int) -> PathMtu:
    """Sends the hub two datagrams as large as the tunnel's largest; it takes them for noise, and drops them.

    Raises OSError where the endpoint's name cannot be resolved or is not reached, ValueError.
    """
    host, port = split_endpoint(endpoint)
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    version = 6 if family == socket.AF_INET6 else 4
    payload = tunnel_bytes + OVERHEAD_BYTES[version] - _IP_HEADER_BYTES[version] - _UDP_HEADER_BYTES
    with socket.socket(family, kind, protocol) as channel:
        channel.setsockopt(*_MTU_DISCOVER[version], _ALWAYS)
        channel.connect(address)
        poll = select.poll()
        poll.register(channel, select.POLLERR)
        for _ in range(2):
            with contextlib.suppress(OSError):
                # Too large for what is known of the way already, or nobody listens there: both are answers.
                channel.send(bytes(payload))
            if poll.poll(MTU_ANSWER_TIMEOUT_S * 1000):
                channel.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return PathMtu(endpoint, version, channel.getsockopt(*_MTU[version]), tunnel_bytes)


def _flush(directory: Path) -> float:
    """Seconds to have a small file on the disk."""
    file = directory / f".diagnostics-{os.getpid()}"
    began_s = time.monotonic()
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, bytes(FLUSHED_BYTES))
        os.fsync(descriptor)
        return time.monotonic() - began_s
    finally:
        os.close(descriptor)
        file.unlink(missing_ok=True)


def _pci_address(bus_id: str) -> str:
    """The driver writes 00000000:01:00.0 where the kernel has 0000:01:00.0."""
    domain, _, rest = bus_id.lower().partition(":")
    # A path is made of it: nothing but an address may be in it.
    address = f"{domain[-4:]}:{rest}"
    return address if all(char in "0123456789abcdef:." for char in address) else "none"


def _text(file: Path) -> str | None:
    try:
        return file.read_text().strip() or None
    except OSError:
        return None


def _number(file: Path) -> int | None:
    text = _text(file)
    return int(text) if text is not None and text.isdecimal() else None
