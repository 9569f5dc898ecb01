"""wireguard-go: finding the process behind an interface, starting one, clearing up after one."""

import asyncio
import os
import shutil
import socket
import struct
from pathlib import Path

from agent.process import ProcessMark, has_ended, reap, spawn_detached

PROGRAM = "wireguard-go"
START_TIMEOUT_S = 10.0
_SOCKETS = Path("/var/run/wireguard")
_TUN = Path("/dev/net/tun")
_POLL_S = 0.05
_LOG_TAIL = 300


class NoUserspace(Exception):
    """wireguard-go cannot be had or did not start; the text says why."""


def socket_path(interface: str) -> Path:
    """Where `wg` finds a userspace interface. Not per network namespace: names are unique on a machine."""
    return _SOCKETS / f"{interface}.sock"


def listener(interface: str) -> int | None:
    """The process that serves the interface's socket; None: nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(socket_path(interface)))
        except (FileNotFoundError, ConnectionRefusedError, TimeoutError):
            return None
        credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid: int = struct.unpack("3i", credentials)[0]
    return pid or None


def remove_stale_socket(interface: str) -> None:
    """A killed wireguard-go leaves its socket, which keeps the next one from starting."""
    if listener(interface) is None:
        socket_path(interface).unlink(missing_ok=True)


async def start(interface: str, log: Path) -> ProcessMark:
    """Returns once the interface is there and its socket answers. Raises NoUserspace, OSError."""
    program = shutil.which(PROGRAM)
    if program is None:
        raise NoUserspace(f"{PROGRAM} is not installed (apt-get install {PROGRAM})")
    if not _has_tun():
        raise NoUserspace(f"{_TUN} is missing (modprobe tun; in a container: --device {_TUN})")
    remove_stale_socket(interface)
    # In the foreground and a session of its own: left to make itself a daemon, it prints a notice that the
    # kernel could do better and its number is lost.
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LOG_LEVEL": "error"}
    mark = spawn_detached((program, "-f", interface), environment, log)
    descriptor = os.pidfd_open(mark.pid)
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while listener(interface) != mark.pid:
                if has_ended(descriptor):
                    reap(descriptor)
                    raise NoUserspace(f"{PROGRAM} ended at once: {_tail(log)}")
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        raise NoUserspace(f"{PROGRAM} did not open its socket within {START_TIMEOUT_S:.0f} s") from None
    finally:
        os.close(descriptor)
    return mark


def _has_tun() -> bool:
    return _TUN.exists()


def _tail(log: Path) -> str:
    words = " ".join(log.read_text(errors="replace").split())
    return words[-_LOG_TAIL:] or "it printed nothing"
