"""The engine's session: all of its processes, its leader's orphans included, found and ended whole."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

from agent.process import ProcessMark, boot_id, has_ended, reap, stat_of

PROC = Path("/proc")
# Between looks at a session that is being ended.
LOOK_S = 0.05


def session_members(leader: ProcessMark) -> list[int]:
    """Living processes of its session, orphans whose leader is gone included."""
    now = stat_of(leader.pid)
    # While the session has a member the kernel does not give its id away; another process of that pid
    # therefore means that the session is gone.
    if leader.boot_id != boot_id() or (now is not None and now.started_ticks != leader.started_ticks):
        return []
    pids = [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]
    stats = {pid: stat_of(pid) for pid in pids}
    return [
        pid
        for pid, stat in stats.items()
        if stat is not None and stat.session == leader.pid and stat.state not in "ZX"
    ]


def sessions_with(variable: str) -> list[ProcessMark]:
    """Sessions, with or without leader, of our user's processes whose environment holds this NAME=VALUE."""
    found: dict[int, ProcessMark] = {}
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # What another user's process carries is a claim: believed, it would end whatever session that
            # process is in.
            if entry.stat().st_uid != os.geteuid():
                continue
            environment = (entry / "environ").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        stat = stat_of(int(entry.name))
        if variable.encode() in environment and stat is not None:
            leader = stat_of(stat.session)
            ticks = leader.started_ticks if leader is not None else 0
            found[stat.session] = ProcessMark(stat.session, ticks, boot_id())
    return list(found.values())


def signal_session(leader: ProcessMark, number: signal.Signals) -> int:
    """Signal every member of the session; how many there were."""
    members = session_members(leader)
    for pid in members:
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            try:
                stat = stat_of(pid)
                if stat is not None and stat.session == leader.pid:
                    signal.pidfd_send_signal(descriptor, number)
            finally:
                os.close(descriptor)
    return len(members)


async def end_session(leader: ProcessMark, terminate_s: float, kill_s: float = 10) -> bool:
    """SIGTERM to the leader, up to `terminate_s` for all to go, SIGKILL to those left; whether all went."""
    descriptor = leader.hold()
    try:
        if descriptor is not None and not has_ended(descriptor):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGTERM)
            await _gone(leader, terminate_s)
        return await _gone(leader, kill_s, by=signal.SIGKILL)
    finally:
        if descriptor is not None:
            reap(descriptor)
            os.close(descriptor)


async def _gone(leader: ProcessMark, timeout_s: float, by: signal.Signals | None = None) -> bool:
    """Whether the session's members are gone in time, each sent `by` at every look."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while True:
        if not (session_members(leader) if by is None else signal_session(leader, by)):
            return True
        if loop.time() >= deadline:
            return False
        await asyncio.sleep(LOOK_S)
