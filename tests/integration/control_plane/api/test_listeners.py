"""What a stop does to answers under way."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from control_plane.api import listeners
from control_plane.api.listeners import CannotListen, Listener, plain_listener, tls_listener
from control_plane.config import Address, InvalidSetting
from control_plane.enrolment import create_server_certificate
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


async def test_a_connection_beyond_the_most_is_told_and_closed_and_the_next_after_one_left_is_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listeners, "MAX_CONNECTIONS", 1)
    application = Streaming()
    listener, running, reader, writer = await _begin(application)
    async with asyncio.timeout(20):
        other_reader, other_writer = await asyncio.open_connection(*_address(listener))
        refused = await other_reader.read()
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b'"code": "too_many_connections"' in refused
        await _close(other_writer)

        application.go_on.set()
        await _close(writer)
        while listener.connections_count:  # noqa: ASYNC110 - it is a count, nobody tells of it
            await asyncio.sleep(0.01)
        third_reader, third_writer = await asyncio.open_connection(*_address(listener))
        third_writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert b"last" in await third_reader.read()
        await _close(third_writer)
        listener.stop()
        await running
    assert b"503" not in await reader.read()


async def test_a_client_that_does_not_shake_hands_is_cut_off_and_others_are_served_meanwhile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(listeners, "HANDSHAKE_TIMEOUT_S", 0.5)
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    create_server_certificate(certificate, key, ["localhost"])
    (port,) = free_ports(1)
    application = Streaming()
    application.go_on.set()
    listener = tls_listener(application, Address("127.0.0.1", port), certificate, key)
    running = asyncio.ensure_future(listener.run_until_stopped())
    trusting = ssl.create_default_context(cafile=certificate)
    async with asyncio.timeout(20):
        silent_reader, silent_writer = await asyncio.open_connection("127.0.0.1", port)
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=trusting, server_hostname="localhost"
        )
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert b"last" in await reader.read()
        assert await silent_reader.read() == b""
        await _close(silent_writer)
        await _close(writer)
        listener.stop()
        await running


def _address(listener: Listener) -> tuple[str, int]:
    host, _, port = listener.address.rpartition(":")
    return host, int(port)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()
