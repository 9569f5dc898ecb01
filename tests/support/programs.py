"""Programs of the product as subprocesses, here or in a lab's host, with their output in files."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tests.support.netlab import Host

T = TypeVar("T")

STOP_TIMEOUT_S = 15.0
POLL_S = 0.05
_TAIL_LINES = 40


class ProgramFailed(Exception):
    """A program ended or did not come up; the text carries the end of its output."""


class Program:
    """A long-running program. Its output goes to `log`, appended over restarts."""

    def __init__(
        self, place: Host, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.log = log
        self._place = place
        self._command = list(command)
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[Any] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self._command[0]} was not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        with self.log.open("ab") as output:
            self._process = self._place.popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                # A terminal's Ctrl-C is for whoever started the programs, and ends them in order.
                start_new_session=True,
            )

    def stop(self) -> None:
        """Asks, waits STOP_TIMEOUT_S, kills. Nothing happens where it is not running."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """With SIGKILL: this process alone, not what it started."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(STOP_TIMEOUT_S)
        self._process = None

    def tail(self) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-_TAIL_LINES:])

    def resident_bytes(self) -> int:
        return resident_bytes(self.pid)

    def wait_until(self, condition: Callable[[], T], what: str, *, timeout_s: float) -> T:
        """The condition's first true value. ProgramFailed, with the log's end, when there is none."""

        def check() -> T:
            value = condition()
            if not value and not self.running:
                raise ProgramFailed(f"ended before {what}:\n{self.tail()}")
            return value

        try:
            return eventually(check, what, timeout_s=timeout_s)
        except TimeoutError as error:
            raise ProgramFailed(f"{error}; {self.log.name} ends with:\n{self.tail()}") from None


def eventually(condition: Callable[[], T], what: str, *, timeout_s: float) -> T:
    """The condition's first true value, asked every POLL_S. TimeoutError where there is none."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s")
        time.sleep(POLL_S)


def script(name: str) -> str:
    """A program of this checkout, by the path in its environment."""
    return str(Path(sys.executable).parent / name)


def resident_bytes(pid: int) -> int:
    """What a process holds in memory, shared pages included."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProgramFailed(f"process {pid} has no memory: it has ended")


def end(pid: int) -> None:
    """SIGTERM, then SIGKILL after STOP_TIMEOUT_S, to a process that is not our child; gone is fine."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while time.monotonic() < deadline:
            if not exists(pid):
                return
            time.sleep(POLL_S)


def exists(pid: int) -> bool:
    """Whether a process is there and is not just waiting to be asked about by its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
