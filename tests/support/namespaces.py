"""Network namespaces whose names say which process owns them, and how they end with all that is in them."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

STOP_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 60.0
NAMESPACES = Path("/run/netns")

_PREFIX = "daalu"


class LabError(Exception):
    """A command that builds or removes a lab failed; the text has its own words."""


def new_name(number: int, hint: str) -> str:
    """Unique per `number` in this process; names an owner that no later process can be taken for."""
    return f"{_PREFIX}.{os.getpid()}.{_started(os.getpid())}.{number}.{hint}"


def remove_leftovers() -> list[str]:
    """Removes the namespaces of labs whose owner is no more, with what runs in them; returns their names."""
    removed = []
    for path in sorted(NAMESPACES.glob(f"{_PREFIX}.*")) if NAMESPACES.is_dir() else []:
        parts = path.name.split(".")
        if len(parts) < 5 or not parts[1].isdecimal() or _started(int(parts[1])) == parts[2]:
            continue
        try:
            end_processes(path.name)
            remove(path.name)
        except LabError:
            if path.exists():
                raise
            continue  # another lab removed it first
        removed.append(path.name)
    return removed


def remove(namespace: str) -> None:
    if (NAMESPACES / namespace).exists():
        run_command(["ip", "netns", "delete", namespace])


def remove_interface(name: str) -> None:
    if (Path("/sys/class/net") / name).exists():
        run_command(["ip", "link", "delete", name])


def pids_in(namespace: str) -> list[int]:
    if not (NAMESPACES / namespace).exists():
        return []
    return [int(pid) for pid in run_command(["ip", "netns", "pids", namespace]).stdout.split()]


def end_processes(namespace: str) -> None:
    """Only a lab's own processes can be in its namespace. Asks them, then kills them."""
    pids: set[int] = set()
    for number in (signal.SIGTERM, signal.SIGKILL):
        told: set[int] = set()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while time.monotonic() < deadline:
            pids = {pid for pid in pids_in(namespace) if not _is_zombie(pid)}
            if not pids:
                return
            for pid in pids - told:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            told |= pids
            time.sleep(0.05)
    raise LabError(f"processes {sorted(pids)} in {namespace} do not end")


def _is_zombie(pid: int) -> bool:
    return _stat(pid, 0) in (None, "Z")


def _started(pid: int) -> str | None:
    """When a process started, in ticks since boot; with its number this names it for good. None: no such."""
    return _stat(pid, 19)


def _stat(pid: int, field: int) -> str | None:
    try:
        # The command's name, in brackets, may hold anything: what follows its last bracket is regular.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[field]
    except (FileNotFoundError, ProcessLookupError):
        return None


def run_command(
    arguments: Sequence[str],
    *,
    stdin: str | None = None,
    check: bool = True,
    timeout: float = COMMAND_TIMEOUT_S,
    **options: Any,
) -> subprocess.CompletedProcess[str]:
    if stdin is None:
        options.setdefault("stdin", subprocess.DEVNULL)
    else:
        options["input"] = stdin
    result = subprocess.run(list(arguments), capture_output=True, text=True, timeout=timeout, **options)
    if check and result.returncode != 0:
        raise LabError(
            f"{' '.join(arguments)}: {result.returncode}: {result.stderr.strip() or result.stdout}"
        )
    return result
