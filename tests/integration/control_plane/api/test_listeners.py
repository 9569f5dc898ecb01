"""What a stop does to answers under way."""

import asyncio
from typing import Any

import pytest

from control_plane.api import listeners
from control_plane.api.listeners import CannotListen, Listener, plain_listener
from control_plane.config import Address, InvalidSetting
from tests.support.control_plane import free_ports


class Streaming:
    """An application that starts an answer and goes on when it is let."""

    def __init__(self) -> None:
        self.started, self.go_on, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            self.started.set()
            await self.go_on.wait()
            await send({"type": "http.response.body", "body": b"last"})
        finally:
            self.ended.set()


async def _begin(
    application: Streaming,
) -> tuple[Listener, "asyncio.Task[None]", asyncio.StreamReader, asyncio.StreamWriter]:
    (port,) = free_ports(1)
    listener = plain_listener(application, Address("127.0.0.1", port))
    running = asyncio.ensure_future(listener.run_until_stopped())
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    await asyncio.wait_for(application.started.wait(), 10)
    return listener, running, reader, writer


async def test_an_answer_under_way_is_finished_before_the_listener_ends() -> None:
    application = Streaming()
    listener, running, reader, writer = await _begin(application)
    listener.stop()
    application.go_on.set()
    async with asyncio.timeout(20):
        assert b"last" in await reader.read()
        await running
    writer.close()
    await writer.wait_closed()


async def test_an_answer_that_outlasts_the_grace_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "STOP_GRACE_S", 1)
    application = Streaming()
    listener, running, reader, writer = await _begin(application)
    listener.stop()
    async with asyncio.timeout(20):
        await running
        await application.ended.wait()
        assert b"last" not in await reader.read()
    writer.close()
    await writer.wait_closed()


def test_a_plain_listener_off_loopback_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="only loopback"):
        plain_listener(Streaming(), Address("0.0.0.0", 8080))


def test_an_address_of_another_machine_is_refused_with_the_flag() -> None:
    with pytest.raises(CannotListen, match=r"no such address \(change --listen\)"):
        listeners.bind(Address("192.0.2.1", 8443), "--listen")
