"""Processes that outlive the daemon are known for good, ended, and reaped."""

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from agent.process import ProcessMark, end, ended, spawn_detached
from tests.support.hub_end import wait_until

SLEEPER = (sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)")
DEAF = (
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
)


async def _start(command: tuple[str, ...], log: Path) -> ProcessMark:
    mark = spawn_detached(command, {"PATH": os.defpath}, log)
    assert mark == ProcessMark.of(mark.pid)
    await asyncio.to_thread(wait_until, lambda: bool(log.read_text()))
    return mark


async def test_a_detached_process_has_a_session_of_its_own_and_a_private_log(tmp_path: Path) -> None:
    mark = await _start(SLEEPER, tmp_path / "log")
    try:
        assert os.getsid(mark.pid) == mark.pid
        assert (tmp_path / "log").stat().st_mode & 0o077 == 0
        assert mark.alive()
    finally:
        await end(mark, 5)
    assert not mark.alive()
    with pytest.raises(ProcessLookupError):  # a child is reaped
        os.kill(mark.pid, 0)


async def test_a_process_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    mark = await _start(DEAF, tmp_path / "log")
    await end(mark, 0.2)
    assert not mark.alive()
    await end(mark, 0.2)


async def test_the_same_number_with_another_start_or_boot_is_another_process() -> None:
    me = ProcessMark.of(os.getpid())
    assert me is not None
    assert me.alive()
    for other in (replace(me, started_ticks=me.started_ticks + 1), replace(me, boot_id="another")):
        assert not other.alive()
        assert other.open() is None
        await end(other, 1)


async def test_an_end_is_noticed_and_a_wait_is_bounded(tmp_path: Path) -> None:
    mark = await _start(SLEEPER, tmp_path / "log")
    descriptor = mark.open()
    assert descriptor is not None
    try:
        assert not await ended(descriptor, 0.01)
        os.kill(mark.pid, signal.SIGKILL)
        assert await ended(descriptor, 10)
    finally:
        os.close(descriptor)


def test_somebody_elses_child_is_no_matter() -> None:
    with subprocess.Popen(SLEEPER, stdout=subprocess.DEVNULL) as child:
        mark = ProcessMark.of(child.pid)
        assert mark is not None
        child.kill()
    assert ProcessMark.of(child.pid) is None
