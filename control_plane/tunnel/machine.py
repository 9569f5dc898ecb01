"""What the hub needs of its machine, checked before anything is changed."""

import errno
import fcntl
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from control_plane.tunnel.commands import ENVIRONMENT
from control_plane.tunnel.conditions import HubError

TUN = Path("/dev/net/tun")
# Debian's names of the packages that have the programs.
_PACKAGES = {"ip": "iproute2", "wg": "wireguard-tools", "nft": "nftables", "wireguard-go": "wireguard-go"}
_CAP_NET_ADMIN = 12


def check_machine() -> None:
    """Raises HubError."""
    if not _effective_capabilities(Path("/proc/self/status").read_text()) >> _CAP_NET_ADMIN & 1:
        raise HubError("the hub needs CAP_NET_ADMIN for its interface and firewall: run `daalu hub` as root")
    for program in ("ip", "wg", "nft"):
        find_program(program)


def find_program(name: str) -> str:
    """Its path. Raises HubError, naming the package to install."""
    path = shutil.which(name, path=ENVIRONMENT["PATH"])
    if path is None:
        raise HubError(f"{name} is not installed: apt-get install {_PACKAGES[name]}")
    return path


def check_tun() -> None:
    """What wireguard-go makes its interface from. Raises HubError."""
    if not TUN.exists():
        raise HubError(
            f"this kernel has no WireGuard, and {TUN}, which wireguard-go needs, is missing: `modprobe tun`,"
            f" or start the container with --device {TUN}"
        )


def udp_port_taken(port: int) -> bool:
    """Whether some program holds the port, on any address of this network namespace."""
    for family, address in ((socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")):
        try:
            probe = socket.socket(family, socket.SOCK_DGRAM)
        except OSError:
            continue  # the machine lacks the family
        with probe:
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return True
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EACCES):
                    raise
    return False


@contextmanager
def only_one(directory: Path) -> Iterator[None]:
    """One hub for each data directory: two would undo each other's work. Raises HubError."""
    path = directory / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HubError(f"a hub runs already with this data directory (it holds {path})") from None
        yield
    finally:
        os.close(descriptor)


def _effective_capabilities(status: str) -> int:
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            return int(value, 16)
    return 0
