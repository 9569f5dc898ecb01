"""Real processes: their identity, their end, and what their leader leaves behind."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.engine.session import end_session, session_members, sessions_with, signal_session
from agent.process import ProcessMark, exit_status, spawn_detached
from tests.support.programs import eventually

# Starts a child that ignores SIGTERM, as a stuck core would, and says so by a file.
STUBBORN = (
    "import os, signal, sys, time\n"
    "if os.fork() == 0:\n"
    "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "    open(sys.argv[1], 'w').close()\n"
    "time.sleep(600)\n"
)

STARTER = """\
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from agent.process import spawn_detached
sleeping = [sys.executable, "-c", "import time; time.sleep(600)"]
identity = spawn_detached(sleeping, {}, Path(sys.argv[2]))
print(identity.pid, identity.started_ticks, identity.boot_id)
"""
ROOT = Path(__file__).parents[4]


@pytest.fixture
def started() -> Iterator[list[ProcessMark]]:
    identities: list[ProcessMark] = []
    yield identities
    for identity in identities:
        signal_session(identity, signal.SIGKILL)


def run(tmp_path: Path, code: str, *arguments: str, marker: str = "none") -> ProcessMark:
    argv = [sys.executable, "-c", code, *arguments]
    return spawn_detached(argv, {"DAALU_TEST_MARKER": marker}, tmp_path / "log")


async def test_its_output_goes_to_the_log_and_its_status_is_known(
    tmp_path: Path, started: list[ProcessMark]
) -> None:
    identity = run(tmp_path, "print('hello'); raise SystemExit(3)")
    started.append(identity)
    async with asyncio.timeout(10):
        assert await exit_status(identity) == 3
    assert (tmp_path / "log").read_text() == "hello\n"
    assert not identity.alive()


async def test_it_is_a_session_of_its_own(tmp_path: Path, started: list[ProcessMark]) -> None:
    identity = run(tmp_path, "import time; time.sleep(600)")
    started.append(identity)
    assert os.getsid(identity.pid) == identity.pid
    assert session_members(identity) == [identity.pid]


async def test_a_program_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        spawn_detached([str(tmp_path / "missing")], {}, tmp_path / "log")


async def test_another_process_of_the_same_pid_is_not_it(tmp_path: Path, started: list[ProcessMark]) -> None:
    identity = run(tmp_path, "import time; time.sleep(600)")
    started.append(identity)
    for other in (replace(identity, started_ticks=1), replace(identity, boot_id="another")):
        assert not other.alive()
        assert session_members(other) == []
        assert await end_session(other, terminate_s=1)
    assert identity.alive()


async def test_the_whole_session_ends_stubborn_members_included(
    tmp_path: Path, started: list[ProcessMark]
) -> None:
    identity = run(tmp_path, STUBBORN, str(tmp_path / "forked"))
    started.append(identity)
    eventually((tmp_path / "forked").exists, "the child", timeout_s=10)
    assert len(session_members(identity)) == 2
    assert await end_session(identity, terminate_s=0.3)
    assert session_members(identity) == []


async def test_orphans_of_a_killed_leader_are_found_and_ended(
    tmp_path: Path, started: list[ProcessMark]
) -> None:
    identity = run(tmp_path, STUBBORN, str(tmp_path / "forked"))
    started.append(identity)
    eventually((tmp_path / "forked").exists, "the child", timeout_s=10)
    os.kill(identity.pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        assert await exit_status(identity) == -signal.SIGKILL
    assert len(session_members(identity)) == 1
    assert await end_session(identity, terminate_s=1)
    assert session_members(identity) == []


async def test_an_adopted_processs_end_is_seen(tmp_path: Path) -> None:
    """Adopted: started by a process that is gone, so no child of ours."""
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STARTER, str(ROOT), str(tmp_path / "log"), stdout=subprocess.PIPE
    )
    output, _ = await program.communicate()
    pid, ticks, boot = output.decode().split()
    identity = ProcessMark(int(pid), int(ticks), boot)
    assert identity.alive()
    watched = asyncio.create_task(exit_status(identity))
    await asyncio.sleep(0)
    os.kill(identity.pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        assert await watched is None


async def test_engines_that_nobody_wrote_down_are_found(tmp_path: Path, started: list[ProcessMark]) -> None:
    identity = run(tmp_path, "import time; time.sleep(600)", marker=str(tmp_path))
    started.append(identity)
    assert sessions_with(f"DAALU_TEST_MARKER={tmp_path}") == [identity]
    assert sessions_with(f"DAALU_TEST_MARKER={tmp_path}/other") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
def test_another_users_process_cannot_pass_for_an_engine(tmp_path: Path) -> None:
    """Who believed it would end the session that it lives in: this one, of the test."""
    environment = {"DAALU_TEST_MARKER": str(tmp_path)}
    sleeping = ["/bin/sleep", "600"]
    with subprocess.Popen(sleeping, env=environment, user=65534, group=65534) as stranger:
        try:
            assert sessions_with(f"DAALU_TEST_MARKER={tmp_path}") == []
        finally:
            stranger.kill()
