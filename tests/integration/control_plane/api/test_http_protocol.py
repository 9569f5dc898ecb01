"""Limits on a request's head, over a real socket."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from control_plane.api import http_protocol
from control_plane.api.listeners import plain_listener
from control_plane.config import Address

PROMISE_S = 1.0


class Recorder:
    """An application that remembers what reached it."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.release = asyncio.Event()
        self.release.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.paths.append(scope["path"])
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        self.headers, self.body = scope["headers"], body
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await self.release.wait()
        await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def application() -> Recorder:
    return Recorder()


@pytest.fixture
async def port(application: Recorder, free_port: int) -> AsyncIterator[int]:
    listener = plain_listener(application, Address("127.0.0.1", free_port))
    running = asyncio.ensure_future(listener.run_until_stopped())
    yield free_port
    listener.stop()
    await running


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


async def _answer(port: int, *pieces: bytes) -> tuple[int, dict[str, str], bytes]:
    """Sends the pieces, reads to the end of the connection: status, headers, body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
        async with asyncio.timeout(20):
            raw = await reader.read()
    finally:
        writer.close()
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), headers, body


_START = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
_BOMBS = {
    "many headers": [_START + b"a: b\r\n" * 200 + b"\r\n"],
    "one endless header": [_START + b"a: ", b"x" * 1_000_000],
    "an endless name": [_START + b"x" * 1_000_000],
    "an endless path": [b"GET /" + b"x" * 1_000_000],
    "many that are large": [_START, *[b"a%d: " % number + b"x" * 2000 + b"\r\n" for number in range(50)]],
}


@pytest.mark.parametrize("pieces", _BOMBS.values(), ids=_BOMBS.keys())
async def test_a_header_bomb_is_refused_at_once_in_openais_shape(
    port: int, application: Recorder, pieces: list[bytes]
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    started = time.monotonic()
    for piece in pieces:
        writer.write(piece)
    async with asyncio.timeout(20):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        assert time.monotonic() - started < PROMISE_S
        body = await reader.read()
    writer.close()
    assert head.startswith("http/1.1 431 ")
    assert "content-type: application/json" in head
    error = json.loads(body)["error"]
    assert (error["code"], error["type"], error["param"]) == (
        "headers_too_large", "invalid_request_error", None,
    )  # fmt: skip
    assert application.paths == []


async def test_what_is_not_http_is_refused_in_openais_shape(port: int, application: Recorder) -> None:
    status, _, body = await _answer(port, b"\x16\x03\x01\x00\xa5\x01\x00\r\n\r\n")
    assert status == 400
    assert json.loads(body)["error"]["code"] == "malformed_request"
    assert application.paths == []


async def test_a_head_at_the_limits_passes(port: int, application: Recorder) -> None:
    headers = b"".join(b"h%02d: %s\r\n" % (number, b"v" * 200) for number in range(97))
    status, _, body = await _answer(
        port, _START + headers + b"content-length: 3\r\nconnection: close\r\n\r\nabc"
    )
    assert (status, body) == (200, b"ok")
    assert len(application.headers) == 100
    assert application.body == b"abc"


async def test_a_large_body_in_one_piece_with_its_head_is_no_header_bomb(
    port: int, application: Recorder
) -> None:
    size = 300_000
    head = _START + b"content-length: %d\r\nconnection: close\r\n\r\n" % size
    status, _, _ = await _answer(port, head + b"x" * size)
    assert status == 200
    assert len(application.body) == size


async def test_two_requests_on_one_connection_are_both_answered(port: int, application: Recorder) -> None:
    status, _, rest = await _answer(
        port, b"GET /1 HTTP/1.1\r\nhost: x\r\n\r\nGET /2 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    assert status == 200
    assert rest.count(b"HTTP/1.1 200") == 1
    assert application.paths == ["/1", "/2"]


async def test_trailers_do_not_become_headers(port: int, application: Recorder) -> None:
    head = _START + b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    status, _, _ = await _answer(port, head + b"3\r\nabc\r\n0\r\nauthorization: Bearer forged\r\n\r\n")
    assert status == 200
    assert application.body == b"abc"
    assert b"authorization" not in dict(application.headers)


async def test_an_endless_trailer_ends_the_connection(port: int, application: Recorder) -> None:
    application.release.clear()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_START + b"transfer-encoding: chunked\r\n\r\n0\r\nx: ")
    for _ in range(100):
        writer.write(b"y" * 10_000)
    async with asyncio.timeout(20):
        try:
            answered = await reader.read()
        except ConnectionError:
            answered = b""
    writer.close()
    assert answered == b""
    assert application.body == b""


async def test_a_slow_sender_of_headers_is_answered_with_a_timeout(
    port: int, application: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_TIMEOUT_S", 0.3)
    status, _, body = await _answer(port, _START + b"a: b")
    assert status == 408
    assert json.loads(body)["error"]["code"] == "request_timeout"
    assert application.paths == []


@pytest.mark.parametrize("sent", [b"", b"\r\n\r\n"], ids=["nothing", "line breaks only"])
async def test_a_connection_that_asks_nothing_is_closed(
    port: int, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_TIMEOUT_S", 0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    async with asyncio.timeout(20):
        assert await reader.read() == b""
    writer.close()


async def test_an_answer_that_takes_longer_than_the_heads_deadline_is_not_cut(
    port: int, application: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_TIMEOUT_S", 0.2)
    application.release.clear()
    loop = asyncio.get_running_loop()
    loop.call_later(0.7, application.release.set)
    # The second request's head never ends while the first is being answered.
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /1 HTTP/1.1\r\nhost: x\r\n\r\nGET /2 HT")
    async with asyncio.timeout(20):
        raw = await reader.read()
    writer.close()
    assert raw.startswith(b"HTTP/1.1 200")
    assert b"\r\n\r\nokHTTP/1.1 408" in raw
