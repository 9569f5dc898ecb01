"""What comes of a body after its request was answered, over a real socket."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from control_plane.api import http_protocol
from control_plane.api.listeners import plain_listener
from control_plane.config import Address

HEAD = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n"
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _refuse_at_once(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"no"})


@pytest.fixture
async def connection() -> AsyncIterator[Connection]:
    """To a listener that answers before it has read a body."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    listener = plain_listener(_refuse_at_once, Address("127.0.0.1", port))
    running = asyncio.ensure_future(listener.run_until_stopped())
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    yield reader, writer
    writer.close()
    listener.stop()
    await running


async def _post(connection: Connection) -> asyncio.StreamReader:
    reader, writer = connection
    writer.write(HEAD)
    assert (await reader.readuntil(b"\r\n\r\nno")).startswith(b"HTTP/1.1 413 ")
    return reader


async def _ended(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(20):
            return await reader.read() == b""
    except ConnectionResetError:
        return True


async def test_the_rest_of_a_body_may_come_and_the_connection_goes_on(connection: Connection) -> None:
    await _post(connection)
    connection[1].write(b"x" * 1_000_000)
    await _post(connection)


async def test_more_than_will_be_dropped_ends_the_connection(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "MAX_UNWANTED_BYTES", 100_000)
    reader = await _post(connection)
    connection[1].write(b"x" * 200_000)
    assert await _ended(reader)


async def test_a_body_that_never_ends_ends_the_connection(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "UNWANTED_TIMEOUT_S", 0.2)
    reader = await _post(connection)
    connection[1].write(b"x")
    assert await _ended(reader)
