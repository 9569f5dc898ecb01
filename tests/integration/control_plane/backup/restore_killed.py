"""Restores a backup again and again, killed at its first change of the disk, at its second, and so on.

Arguments: backup, directory to work in, and one that is there before, with a store that nobody used. Prints
how many restores were killed. Each kill is followed by a second restore, which must end well. A program of
its own, so that a fork is of one thread.
"""

import hashlib
import os
import shutil
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

from control_plane.backup import RestoreRefused, restore_backup
from control_plane.config import InvalidSetting, load_settings

_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "sqlite3.connect"}


def main(backup: Path, work: Path, before: Path) -> int:
    expected = _expected(backup, work, before)
    # Before the moves every half is thrown away alike: some of them will do.
    number, step, kills, moving = 1, 3, 0, work / "moving"
    while True:
        data = work / f"{kills}"
        shutil.copytree(before, data)
        killed = _killed_at(number, backup, data)
        is_moving = _check_half(data)
        if killed and is_moving and step > 1:
            # The first of them may have been stepped over.
            number, step = number - step, 1
        elif killed and is_moving and not moving.exists():
            # From here on every change, each time from where the moves begin.
            before, number = shutil.copytree(data, moving), 0
        if killed:
            kills += 1
            _in_child(lambda data=data: _again(backup, data))
        load_settings(data)
        found = _digests(data)
        assert found == expected, f"after a kill at change {number}: {found} and not {expected}"
        shutil.rmtree(data)
        if not killed:
            return kills
        number += step


def _expected(backup: Path, work: Path, before: Path) -> dict[str, str]:
    data = shutil.copytree(before, work / "whole")
    _in_child(lambda: restore_backup(backup, data, progress=lambda _: None))
    return _digests(data)


def _killed_at(number: int, backup: Path, data: Path) -> bool:
    def restore() -> None:
        done = 0

        def count(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal done
            is_write = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE
            if is_write or event in _CHANGES:
                done += 1
                if done == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        restore_backup(backup, data, progress=lambda _: None)

    return _in_child(restore, may_be_killed=True)


def _again(backup: Path, data: Path) -> None:
    had_ended = not (data / "restore.partial" / "ready").exists() and (data / "telemetry.db").exists()
    try:
        restore_backup(backup, data, progress=lambda _: None)
    except RestoreRefused as error:
        # Killed after its end, it is complete.
        if not had_ended or "is not empty" not in str(error):
            raise
        shutil.rmtree(data / "restore.partial", ignore_errors=True)
    else:
        assert not had_ended


def _in_child(work: Any, *, may_be_killed: bool = False) -> bool:
    """Whether it was killed."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if may_be_killed and os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True
    assert status == 0, f"a restore ended with {status}"
    return False


def _check_half(data: Path) -> bool:
    """Whether files are being put into place; then nothing starts from the directory."""
    if (data / "restore.partial" / "ready").exists():
        try:
            load_settings(data)
        except InvalidSetting as error:
            assert "run the same `daalu restore` again" in str(error)  # noqa: PT017
        else:
            raise AssertionError("a half restored directory can be started from")
        return True
    return False


def _digests(data: Path) -> dict[str, str]:
    with sqlite3.connect(data / "daalu.db") as database:
        rows = "\n".join(database.iterdump())
    files = {
        str(path.relative_to(data)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in data.rglob("*")
        if path.is_file() and "daalu.db" not in path.name
    }
    return files | {"rows": hashlib.sha256(rows.encode()).hexdigest()}


if __name__ == "__main__":
    # What is killed is a process and not the machine.
    os.fsync = lambda fd: None
    print(main(*(Path(argument) for argument in sys.argv[1:])))
