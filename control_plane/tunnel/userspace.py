"""wireguard-go: WireGuard in a process, where the kernel has none. The interface lives as long as it does."""

import asyncio
import os
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

from control_plane.tunnel.commands import ENVIRONMENT
from control_plane.tunnel.conditions import HubError
from control_plane.tunnel.machine import check_tun, find_program

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 3.0
_SOCKETS = Path("/var/run/wireguard")
_POLL_S = 0.02


class WireguardGo:
    """The process behind one interface: started here, or found running."""

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._socket = _SOCKETS / f"{interface}.sock"
        self._child: subprocess.Popen[bytes] | None = None

    def pid(self) -> int | None:
        """Who answers on the interface's socket; None: nobody. A killed process leaves a socket behind.

        The socket's name is the machine's, whatever the network namespace.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(self._socket))
            except (FileNotFoundError, ConnectionRefusedError, TimeoutError):
                return None
            credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid: int = struct.unpack("3i", credentials)[0]
        return pid

    async def start(self) -> None:
        """Returns once it answers. Raises HubError."""
        program = find_program("wireguard-go")
        check_tun()
        self._reap()
        self._socket.unlink(missing_ok=True)
        # A session of its own: a terminal's Ctrl-C is for the hub, which then ends it in order.
        # -f: it does not fork. The variable, which must be 1 where it is set, keeps it from printing that the
        # kernel could do better.
        child = subprocess.Popen(  # noqa: ASYNC220 - it outlives the loop
            [program, "-f", self._interface],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            env={**ENVIRONMENT, "LOG_LEVEL": "error", "WG_PROCESS_FOREGROUND": "1"},
        )
        self._child = child
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while self.pid() != child.pid:
                    if child.poll() is not None:
                        raise HubError(
                            f"wireguard-go ended at once with status {child.returncode}: see its words above"
                        )
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise HubError(f"wireguard-go did not answer within {START_TIMEOUT_S:.0f} s") from None

    async def stop(self, pid: int | None) -> None:
        """Waits for the process (`pid` as it was found) to end with its interface, else kills it."""
        if self._child is not None:
            pid = self._child.pid
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while pid is not None and self._runs(pid):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                deadline += STOP_TIMEOUT_S
            await asyncio.sleep(_POLL_S)
        if self.pid() is None:
            self._socket.unlink(missing_ok=True)

    def _runs(self, pid: int) -> bool:
        self._reap()
        try:
            return Path(f"/proc/{pid}/comm").read_text().strip() == "wireguard-go" and not _is_zombie(pid)
        except (FileNotFoundError, ProcessLookupError):
            return False

    def _reap(self) -> None:
        if self._child is not None and self._child.poll() is not None:
            self._child = None


def _is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
