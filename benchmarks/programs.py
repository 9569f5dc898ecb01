"""Programs of a measurement: found or built, pinned to a core, their CPU time read, ended by their id."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
# What is measured has one core for itself; the load and the upstream share the other.
MEASURED_CORE = 0
LOAD_CORE = 1
STOP_S = 20.0
CONNECT_S = 20.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class CannotMeasure(Exception):
    """Why a value could not be had; printed beside its null."""


def built(source: str, directory: Path) -> Path:
    """A program of benchmarks/native, compiled. Raises CannotMeasure."""
    program = directory / source.removesuffix(".c")
    compiler = shutil.which("gcc")
    if compiler is None:
        raise CannotMeasure("there is no gcc")
    command = [
        compiler,
        "-O2",
        "-Wall",
        "-Werror",
        "-o",
        str(program),
        str(ROOT / "benchmarks/native" / source),
    ]
    subprocess.run(command, check=True)
    return program


@contextmanager
def running(
    command: list[str],
    core: int,
    log: Path,
    *,
    environment: dict[str, str] | None = None,
    talkative: bool = False,
) -> Iterator["subprocess.Popen[str]"]:
    """The program, pinned to one core, its standard output ours to read and its errors in `log`.

    `talkative`: it also reads what is written to its standard input.
    """
    with log.open("ab") as errors:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *command],
            cwd=ROOT,
            env=os.environ | (environment or {}),
            stdin=subprocess.PIPE if talkative else None,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def cpu_s(pid: int) -> float:
    """User and system time of a process, all its threads, and of its children that live."""
    total = _ticks(pid)
    for child in _children(pid):
        total += _ticks(child)
    return total / _TICKS_PER_S


def memory_kib(pid: int) -> int:
    """Resident memory of a process and its living children."""
    return sum(_status_kib(each, "VmRSS") for each in (pid, *_children(pid)))


def peak_memory_kib(pid: int) -> int:
    """The most resident memory that a process ever had, its children left out."""
    return _status_kib(pid, "VmHWM")


def wait_until(condition: "object", what: str, *, within_s: float = CONNECT_S) -> None:
    """Polls `condition` (a callable). Raises CannotMeasure when it does not become true."""
    assert callable(condition)
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise CannotMeasure(f"{what}: not within {within_s:g} s")
        time.sleep(0.05)


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *_children(int(child))]
    return found


def _status_kib(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0
