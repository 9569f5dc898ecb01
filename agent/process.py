"""Processes that outlive the daemon: known for good by number, start time and boot.

A number alone is reused; with the time of its start, in ticks since boot, and the boot's id it names one
process forever.
"""

import asyncio
import os
import select
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessMark:
    """One process. Survives in a file, through restarts of the daemon and of the host."""

    pid: int
    started_ticks: int
    boot_id: str

    @classmethod
    def of(cls, pid: int) -> "ProcessMark | None":
        """None: no such process runs.

        Asked of a pidfd, since in /proc a process seems dead as soon as its first thread is, while others
        still hold its sockets.
        """
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return None
        try:
            facts = stat_of(pid)
            if facts is None or has_ended(descriptor):
                return None
            return cls(pid, facts.started_ticks, boot_id())
        finally:
            os.close(descriptor)

    def alive(self) -> bool:
        return self == ProcessMark.of(self.pid)

    def open(self) -> int | None:
        """A pidfd, which turns readable when the process ends; the caller closes it. None: it has ended."""
        descriptor = self.hold()
        if descriptor is not None and has_ended(descriptor):
            os.close(descriptor)
            return None
        return descriptor

    def hold(self) -> int | None:
        """A pidfd even of a child that has ended and was not reaped; the caller closes it."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return None
        # Opened, the number cannot be reused any more: now the comparison holds.
        facts = stat_of(self.pid)
        if facts is not None and self == ProcessMark(self.pid, facts.started_ticks, boot_id()):
            return descriptor
        os.close(descriptor)
        return None


@dataclass(frozen=True, slots=True)
class Stat:
    """What /proc says of a process."""

    # One letter, of its first thread: Z and X are dead.
    state: str
    session: int
    started_ticks: int


def stat_of(pid: int) -> Stat | None:
    """None: no such process, not even a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name, in brackets, may hold anything; fields are counted from behind it (proc(5): the
    # third on).
    facts = text.rpartition(")")[2].split()
    return Stat(facts[0], int(facts[3]), int(facts[19]))


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def spawn_detached(command: Sequence[str], environment: Mapping[str, str], log: Path) -> ProcessMark:
    """Starts a program in a session of its own, which no signal to the daemon's group reaches.

    Its output replaces the file `log`. It may have ended already; its end is the caller's to `reap`.
    Raises OSError where it cannot be started.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    pid = os.posix_spawn(
        command[0],
        list(command),
        dict(environment),
        setsid=True,
        # Python blocks nothing, but a parent may have: a stop must reach the program.
        setsigmask=[],
        setsigdef=signal.valid_signals(),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
    )
    facts = stat_of(pid)
    # Nobody else reaps our child, so it is at least a zombie, which has a start time too.
    if facts is None:
        raise ProcessLookupError(f"process {pid} vanished at its start")
    return ProcessMark(pid, facts.started_ticks, boot_id())


async def ended(descriptor: int, timeout_s: float | None) -> bool:
    """Waits for a pidfd's process to end, at most `timeout_s`; None waits for ever. Reaps nothing."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()

    def note() -> None:
        if not over.done():
            over.set_result(None)

    loop.add_reader(descriptor, note)
    try:
        async with asyncio.timeout(timeout_s):
            await over
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(descriptor)
    return True


def has_ended(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


def reap(descriptor: int) -> int | None:
    """Takes note of a child's end, so that it does not stay as a zombie.

    Its exit status, or minus the signal that ended it; None where it runs or is no child of ours.
    """
    try:
        facts = os.waitid(os.P_PIDFD, descriptor, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return None
    if facts is None:
        return None
    return facts.si_status if facts.si_code == os.CLD_EXITED else -facts.si_status


async def exit_status(mark: ProcessMark) -> int | None:
    """Waits for ever for its end; what `reap` says then."""
    descriptor = mark.hold()
    if descriptor is None:
        return None
    try:
        await ended(descriptor, None)
        return reap(descriptor)
    finally:
        os.close(descriptor)


async def end(mark: ProcessMark, grace_s: float) -> None:
    """Asks the process to end, kills it after `grace_s`, and returns once it has ended."""
    descriptor = mark.open()
    if descriptor is None:
        return
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        if not await ended(descriptor, grace_s):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            await ended(descriptor, grace_s)
    except ProcessLookupError:
        return
    finally:
        reap(descriptor)
        os.close(descriptor)
