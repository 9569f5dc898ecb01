"""Calls over raw connections: in a row, in a pipeline, half sent, half read."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from control_plane.api import http_protocol
from control_plane.gateway import Limits
from control_plane.store import Store
from tests.support.gateway import Front, agent_view, serving
from tests.support.gateway_client import ASK, ROLE, STREAM
from tests.support.gateway_engine import (
    END,
    Exchange,
    ScriptedEngine,
    answer,
    chunk,
    last_chunk,
    scripted_engine,
)
from tests.support.raw_http import RawHttp, call, connected


@pytest.fixture
async def engine() -> AsyncIterator[ScriptedEngine]:
    async with scripted_engine() as one:
        yield one


@pytest.fixture
async def front(sqlite_store: Store, engine: ScriptedEngine) -> AsyncIterator[Front]:
    async with serving(
        sqlite_store, agent_view("one", engine.port), limits=Limits(request_body_bytes=200_000)
    ) as one:
        yield one


@pytest.fixture
async def http(front: Front) -> AsyncIterator[RawHttp]:
    async with connected(front.url) as connection:
        yield connection


async def wait(exchange: Exchange) -> None:
    await exchange.hung_up.wait()


async def test_pipelined_requests_of_both_kinds_are_answered_in_order(http: RawHttp, front: Front) -> None:
    other = b"GET /elsewhere HTTP/1.1\r\nhost: x\r\n\r\n"
    http.send(call(ASK), other, call(STREAM), call({"model": "gone", "messages": [{}]}), call(ASK))
    assert b'"Hello"' in (await http.reply()).body
    assert (await http.reply()).body == b""
    assert (await http.reply()).body.endswith(END)
    assert (await http.reply()).code == "model_not_found"
    assert b'"Hello"' in (await http.reply()).body
    assert front.fallback_paths == ["/elsewhere"]


async def test_a_client_that_leaves_with_requests_waiting_stops_the_engine_and_starts_no_more(
    http: RawHttp, engine: ScriptedEngine, front: Front
) -> None:
    engine.scripts.append(wait)
    http.send(call(ASK), call(ASK), call(ASK))
    exchange = await engine.wait_for(1)
    http.vanish()
    async with asyncio.timeout(1):
        await exchange.hung_up.wait()
    assert (await front.only_call()).outcome == "client_gone"
    assert len(engine.received) == 1


async def test_more_requests_than_may_wait_end_the_connection(
    http: RawHttp, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "MAX_WAITING_REQUESTS", 3)
    engine.scripts.append(wait)
    http.send(*[call(ASK) for _ in range(5)])
    assert await http.ended()


async def test_what_follows_the_last_request_is_not_served(http: RawHttp, engine: ScriptedEngine) -> None:
    http.send(call(ASK, "connection: close"), call(ASK), b"\x00 and no HTTP at all")
    reply = await http.reply()
    assert (reply.status, reply.headers["connection"]) == (200, "close")
    assert await http.ended()
    assert len(engine.received) == 1


async def test_a_connection_goes_on_after_errors(http: RawHttp, engine: ScriptedEngine) -> None:
    refused = [
        (call(b"{"), 400),
        (call(ASK, method="GET"), 405),
        (call(ASK, path="/v1/nothing"), 404),
        (call(ASK).replace(b"Bearer ", b"Bearer x"), 401),
        (call(b"x" * 300_000), 413),
    ]
    for request, status in refused:
        http.send(request)
        assert (await http.reply()).status == status
    http.send(call(ASK))
    assert (await http.reply()).status == 200
    assert len(engine.received) == 1


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "DELETE"])
async def test_other_methods_are_refused_with_those_that_are_allowed(http: RawHttp, method: str) -> None:
    for path, allowed in (("/v1/chat/completions", "POST"), ("/v1/models", "GET")):
        http.send(call(b"", method=method, path=path))
        reply = await http.reply(has_body=method != "HEAD")
        assert (reply.status, reply.headers["allow"]) == (405, allowed)
    http.send(call(ASK))
    assert (await http.reply()).status == 200


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions?x=1", "http://elsewhere/v1/chat/completions", "/v1/chat%2Fcompletions"]
)
async def test_a_path_may_be_written_in_other_ways(http: RawHttp, path: str) -> None:
    http.send(call(ASK, path=path))
    assert (await http.reply()).status == 200


async def test_a_body_may_come_in_chunks_with_trailers(http: RawHttp, engine: ScriptedEngine) -> None:
    request = call(ASK, "transfer-encoding: chunked")
    head, _, body = request.partition(b"\r\n\r\n")
    head = head.replace(b"content-length", b"x-length")
    pieces = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    http.send(head + b"\r\n\r\n" + pieces + b"0\r\nauthorization: Bearer forged\r\n\r\n")
    assert (await http.reply()).status == 200
    assert engine.received[0].json["messages"] == ASK["messages"]


async def test_a_client_that_waits_for_leave_to_send_its_body_gets_it_after_its_key_was_accepted(
    http: RawHttp,
) -> None:
    head, _, body = call(ASK, "expect: 100-continue").partition(b"\r\n\r\n")
    http.send(head.replace(b"Bearer ", b"Bearer x") + b"\r\n\r\n")
    assert (await http.reply()).status == 401
    http.send(body, head, b"\r\n\r\n")
    assert (await http.reply(has_body=False)).status == 100
    http.send(body)
    assert (await http.reply()).status == 200


async def test_an_offer_to_change_the_protocol_is_not_taken_up(http: RawHttp) -> None:
    offer = ("connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AAMAAABk")
    http.send(call(b"", *offer, method="GET", path="/v1/models"), call(ASK))
    for _ in range(2):
        assert (await http.reply()).status == 200
    smuggled = call(b"", method="GET", path="/v1/models")
    http.send(call(smuggled, *offer))
    assert (await http.reply()).code == "upgrade_refused"
    assert await http.ended()


async def test_a_client_of_http_1_0_gets_a_stream_without_chunks(http: RawHttp) -> None:
    http.send(call(STREAM).replace(b"HTTP/1.1", b"HTTP/1.0"))
    async with asyncio.timeout(10):
        whole = await http.reader.read()
    head, _, body = whole.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert body.startswith(b"data: ")
    assert body.endswith(END)


async def test_a_client_that_vanishes_while_it_sends_its_body_leaves_nothing_behind(
    http: RawHttp, front: Front, engine: ScriptedEngine
) -> None:
    http.send(call(ASK)[:-5])
    async with asyncio.timeout(5):
        while not front.gateway.calls_count:  # noqa: ASYNC110 - the count is what is waited for
            await asyncio.sleep(0.01)
    http.vanish()
    async with asyncio.timeout(1):
        while front.gateway.calls_count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert front.listener.connections_count == 0
    assert await front.calls() == []
    assert engine.connections == 0


async def test_a_client_that_reads_slowly_slows_its_engine_and_gets_every_byte(
    http: RawHttp, engine: ScriptedEngine
) -> None:
    pieces, sent = 400, 0
    text = "x" * 50_000

    async def flood(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.start_stream()
        await exchange.piece(ROLE)
        for sent in range(1, pieces + 1):
            await exchange.piece(chunk(text, done=sent))
        for one in (last_chunk(pieces), END):
            await exchange.piece(one)
        await exchange.end_stream()

    engine.scripts.append(flood)
    http.writer.transport.pause_reading()  # type: ignore[attr-defined]  # asyncio's transports of sockets can
    http.send(call(STREAM))
    await engine.wait_for(1)
    # The engine stops getting rid of more, long before it has sent all.
    before = -1
    while before != sent:
        before = sent
        await asyncio.sleep(0.3)
    # Buffers of two sockets in the kernel take most of it; what the gateway holds is 0.3 MB of read-ahead, as
    # much again unsent, and one read.
    assert 0 < sent < pieces * 0.75
    http.writer.transport.resume_reading()  # type: ignore[attr-defined]
    async with asyncio.timeout(20):
        body = (await http.reply()).body
    assert body.count(text.encode()) == pieces
    assert body.endswith(END)


async def test_a_whole_answer_that_is_not_taken_does_not_hold_its_connection_for_ever(
    http: RawHttp, engine: ScriptedEngine, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def huge(exchange: Exchange) -> None:
        await exchange.send_json(answer("x" * 20_000_000))

    monkeypatch.setattr(http_protocol, "SEND_STALL_S", 0.2)
    engine.scripts.append(huge)
    http.writer.transport.pause_reading()  # type: ignore[attr-defined]
    http.send(call(ASK, "connection: close"))
    await engine.wait_for(1)
    async with asyncio.timeout(20):
        while front.listener.connections_count:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    http.writer.transport.resume_reading()  # type: ignore[attr-defined]
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await http.reply()
