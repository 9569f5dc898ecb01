"""A control plane for tests: a data directory on free ports, and `daalu serve` as a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0


DAALU = (sys.executable, "-c", "from control_plane.cli import main; main()")
# With Ctrl-C's signal as a terminal gives it, also where tests run in a background that ignores it.
INTERRUPTIBLE_DAALU = ("env", "--default-signal=INT", *DAALU)


@dataclass(frozen=True, slots=True)
class ControlPlane:
    data: Path
    tls_port: int
    plain_port: int

    @property
    def plain_url(self) -> str:
        return f"http://127.0.0.1:{self.plain_port}"

    @property
    def tls_url(self) -> str:
        return f"https://127.0.0.1:{self.tls_port}"

    @property
    def token(self) -> str:
        return (self.data / "operator-token").read_text().strip()

    @property
    def place(self) -> tuple[str, ...]:
        """Flags of `daalu serve` for what a machine of its own would have: the public name, and the ports."""
        plain = f"127.0.0.1:{self.plain_port}"
        tls = ("--public-url", self.tls_url, "--listen", f"127.0.0.1:{self.tls_port}")
        return (*tls, "--listen-plain", plain, "--allow-direct")

    def daalu(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """One command of the CLI, pointed here by its environment."""
        return daalu(*arguments, DAALU_DATA=str(self.data), **environment)


def daalu(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*DAALU, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def free_ports(count: int) -> list[int]:
    """Ports of TCP on loopback that nobody has now."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def initialised(data: Path, *flags: str) -> ControlPlane:
    tls_port, plain_port = free_ports(2)
    result = daalu(
        "init", "--data", str(data), "--public-url", f"https://localhost:{tls_port}",
        "--listen", f"127.0.0.1:{tls_port}", "--listen-plain", f"127.0.0.1:{plain_port}", *flags,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return ControlPlane(data, tls_port, plain_port)


@contextmanager
def serving(plane: ControlPlane, *flags: str) -> Iterator["subprocess.Popen[bytes]"]:
    """`daalu serve` that answers; ended, and its exit code 0, when the block is left."""
    log = plane.data / "serve.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*DAALU, "serve", "--data", str(plane.data), *flags],
            stdout=output, stderr=output,
        )  # fmt: skip
    try:
        _wait_until_it_answers(plane, process, log)
        yield process
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        code = process.wait(STOP_TIMEOUT_S)
        assert code == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _wait_until_it_answers(plane: ControlPlane, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            if httpx2.get(f"{plane.plain_url}/healthz", timeout=5).status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.05)
    raise AssertionError(f"no answer within {START_TIMEOUT_S} s: {log.read_text()}")
