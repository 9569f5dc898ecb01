"""The control socket: works under any path, answers one line, survives what is no request."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.status import Control, ControlFailed, Request, ask


async def _with_control(directory: Path, answer: bytes, work: Callable[[], None]) -> None:
    async def respond(request: Request) -> bytes:
        assert request is Request.STATUS
        return answer

    control = Control(directory, respond)
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(control.run())
        while not (directory / "agent.sock").exists():  # noqa: ASYNC110 - a file tells that it listens
            await asyncio.sleep(0.01)
        try:
            await asyncio.to_thread(work)
        finally:
            await control.finish()
            serving.cancel()


async def test_an_answer_comes_under_a_path_longer_than_a_sockets_may_be(tmp_path: Path) -> None:
    directory = tmp_path / ("long" * 40)
    directory.mkdir()
    answers: list[bytes | None] = []
    await _with_control(directory, b"fine\n", lambda: answers.append(ask(directory, Request.STATUS)))
    assert answers == [b"fine\n"]
    assert not (directory / "agent.sock").exists()


async def test_only_its_owner_can_open_it(tmp_path: Path) -> None:
    modes: list[int] = []
    await _with_control(
        tmp_path, b"\n", lambda: modes.append((tmp_path / "agent.sock").stat().st_mode & 0o777)
    )
    assert modes == [0o600]


def test_nobody_there_is_no_answer(tmp_path: Path) -> None:
    assert ask(tmp_path, Request.STATUS) is None
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "agent.sock"))
    assert ask(tmp_path, Request.STATUS) is None


async def test_what_is_no_request_gets_no_answer_and_does_no_harm(tmp_path: Path) -> None:
    def work() -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(tmp_path / "agent.sock"))
            connection.sendall(b"reboot\n")
            connection.settimeout(10)
            assert connection.recv(10) == b""
        assert ask(tmp_path, Request.STATUS) == b"fine\n"

    await _with_control(tmp_path, b"fine\n", work)


async def test_half_an_answer_is_an_error(tmp_path: Path) -> None:
    def work() -> None:
        with pytest.raises(ControlFailed, match="broke off"):
            ask(tmp_path, Request.STATUS)

    await _with_control(tmp_path, b"half", work)
