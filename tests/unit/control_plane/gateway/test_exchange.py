"""One request and its answer, on a transport that keeps what is written to it."""

import asyncio
from typing import cast

import pytest

from control_plane.gateway.errors import ClientGone, Condition, Refusal
from control_plane.gateway.exchange import Exchange, RequestHead, Wire
from control_plane.gateway.limits import Limits

LIMITS = Limits(request_body_bytes=10, client_stall_s=0.05, request_body_gap_s=0.2)


class Line:
    """A connection's transport and its back pressure."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.answers = 0
        self.reading = True
        self.closed = self.aborted = False
        self.writable = asyncio.Event()
        self.writable.set()

    @property
    def write_paused(self) -> bool:
        return not self.writable.is_set()

    async def drain(self) -> None:
        await self.writable.wait()

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def answered(self) -> None:
        self.answers += 1


async def _nothing(exchange: Exchange) -> None:
    pass


def exchange_on(
    line: Line, *, method: str = "POST", http_1_0: bool = False, expects_continue: bool = False
) -> Exchange:
    head = RequestHead(method, "/v1/x", [], http_1_0, expects_continue)
    wire = Wire(cast("asyncio.WriteTransport", line), line, lambda: [(b"date", b"now")], line.answered)
    return Exchange(head, wire, LIMITS, _nothing, keep_alive=not http_1_0)


async def test_a_whole_answer_is_one_write() -> None:
    line = Line()
    exchange = exchange_on(line)
    await exchange.start(200, [(b"content-length", b"2")])
    assert line.written == []
    await exchange.end(b"ok")
    assert line.written == [b"HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 2\r\n\r\nok"]
    assert exchange.answered
    assert line.answers == 1


async def test_a_stream_is_chunked_and_its_head_goes_with_the_first_chunk() -> None:
    line = Line()
    exchange = exchange_on(line)
    await exchange.start(200, [])
    await exchange.send(b"one")
    assert exchange.send_now(b"twelve bytes")
    await exchange.end(b"end")
    head, first = line.written[0].split(b"\r\n\r\n", 1)
    assert head.endswith(b"transfer-encoding: chunked")
    assert [first, *line.written[1:]] == [b"3\r\none\r\n", b"c\r\ntwelve bytes\r\n", b"3\r\nend\r\n0\r\n\r\n"]


async def test_an_empty_piece_does_not_end_a_chunked_answer() -> None:
    line = Line()
    exchange = exchange_on(line)
    await exchange.start(200, [])
    await exchange.send(b"")
    assert exchange.send_now(b"")
    assert line.written == []
    await exchange.end()
    assert line.written[0].endswith(b"\r\n\r\n0\r\n\r\n")


async def test_a_client_of_http_1_0_gets_no_chunks_and_the_end_by_the_connections() -> None:
    line = Line()
    exchange = exchange_on(line, http_1_0=True)
    await exchange.start(200, [])
    await exchange.send(b"one")
    await exchange.end(b"two")
    head, first = line.written[0].split(b"\r\n\r\n", 1)
    assert b"transfer-encoding" not in head
    assert head.endswith(b"connection: close")
    assert (first, line.written[1], exchange.keep_alive) == (b"one", b"two", False)


async def test_a_head_request_is_answered_with_the_head_alone() -> None:
    line = Line()
    exchange = exchange_on(line, method="HEAD")
    await exchange.start(405, [(b"content-length", b"5")])
    await exchange.end(b"whole")
    assert b"".join(line.written).endswith(b"content-length: 5\r\n\r\n")


async def test_a_header_cannot_break_out_of_its_line() -> None:
    exchange = exchange_on(Line())
    with pytest.raises(ValueError, match="line break"):
        await exchange.start(200, [(b"x-daalu-model", b"a\r\nset-cookie: b=c")])
    assert not exchange.started


@pytest.mark.parametrize("body", [b"o", b"okay"])
async def test_an_answer_of_another_length_than_announced_is_no_answer(body: bytes) -> None:
    exchange = exchange_on(Line())
    await exchange.start(200, [(b"content-length", b"2")])
    with pytest.raises(ValueError, match="length"):
        await exchange.end(body)
    assert not exchange.answered


async def test_a_body_in_pieces_is_put_together() -> None:
    line = Line()
    exchange = exchange_on(line)
    exchange.feed(b"ab")
    reading = asyncio.create_task(exchange.body(None))
    await asyncio.sleep(0)
    exchange.feed(b"c")
    exchange.feed_end()
    assert await reading == b"abc"
    assert line.written == []


async def test_a_body_announced_too_large_is_refused_before_it_is_read() -> None:
    line = Line()
    exchange = exchange_on(line, expects_continue=True)
    with pytest.raises(Refusal) as refusal:
        await exchange.body(11)
    assert refusal.value.condition is Condition.BODY_TOO_LARGE
    assert line.written == []


async def test_a_body_that_grows_too_large_is_refused_and_not_kept() -> None:
    exchange = exchange_on(Line())
    reading = asyncio.create_task(exchange.body(None))
    await asyncio.sleep(0)
    for _ in range(1000):
        exchange.feed(b"12345")
    with pytest.raises(Refusal) as refusal:
        await reading
    assert refusal.value.condition is Condition.BODY_TOO_LARGE
    assert exchange._parts == []


async def test_a_body_that_stops_coming_is_refused_and_the_connection_ends() -> None:
    exchange = exchange_on(Line())
    with pytest.raises(Refusal) as refusal:
        await exchange.body(None)
    assert refusal.value.condition is Condition.BODY_TOO_SLOW
    assert refusal.value.headers == {"connection": "close"}


async def test_a_client_that_waits_for_leave_to_send_its_body_gets_it() -> None:
    line = Line()
    exchange = exchange_on(line, expects_continue=True)
    reading = asyncio.create_task(exchange.body(3))
    await asyncio.sleep(0)
    assert line.written == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    exchange.feed(b"abc")
    exchange.feed_end()
    assert await reading == b"abc"


async def test_a_body_that_nobody_reads_yet_stops_the_reading() -> None:
    line = Line()
    head = RequestHead("POST", "/v1/x", [], http_1_0=False, expects_continue=False)
    wire = Wire(cast("asyncio.WriteTransport", line), line, list, line.answered)
    exchange = Exchange(head, wire, Limits(), _nothing, keep_alive=True)
    exchange.feed(b"x" * 70_000)
    assert not line.reading
    reading = asyncio.create_task(exchange.body(None))
    await asyncio.sleep(0)
    assert line.reading
    exchange.feed_end()
    assert len(await reading) == 70_000


async def test_a_client_that_leaves_while_it_sends_is_gone() -> None:
    exchange = exchange_on(Line())
    reading = asyncio.create_task(exchange.body(None))
    await asyncio.sleep(0)
    exchange.feed(b"a")
    exchange.lost()
    with pytest.raises(ClientGone):
        await reading


async def test_a_client_that_leaves_is_told_of_once_and_gets_nothing_more() -> None:
    line = Line()
    exchange = exchange_on(line)
    told: list[bool] = []
    exchange.on_gone = lambda: told.append(exchange.gone)
    exchange.lost()
    exchange.lost()
    assert told == [True]
    assert not exchange.send_now(b"x")
    for sending in (exchange.start(200, []), exchange.send(b"x"), exchange.end()):
        with pytest.raises(ClientGone):
            await sending
    assert line.written == []


async def test_a_client_that_leaves_after_its_answer_is_not_gone() -> None:
    exchange = exchange_on(Line())
    await exchange.start(200, [])
    await exchange.end(b"all")
    exchange.on_gone = pytest.fail
    exchange.lost()
    assert not exchange.gone


async def test_a_send_waits_until_the_transport_accepts_again() -> None:
    line = Line()
    exchange = exchange_on(line)
    await exchange.start(200, [])
    line.writable.clear()
    assert not exchange.send_now(b"x")
    sending = asyncio.create_task(exchange.send(b"x"))
    await asyncio.sleep(0)
    assert line.written == []
    line.writable.set()
    await sending
    assert line.written[0].endswith(b"1\r\nx\r\n")


async def test_a_client_that_accepts_nothing_is_given_up_and_its_task_is_not_left_cancelled() -> None:
    line = Line()
    exchange = exchange_on(line)
    gone = asyncio.Event()
    exchange.on_gone = gone.set
    await exchange.start(200, [])
    line.writable.clear()
    with pytest.raises(ClientGone):
        await exchange.send(b"x")
    assert exchange.gone
    assert gone.is_set()
    assert line.aborted
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_cancelling_who_sends_is_not_taken_for_a_stalled_client() -> None:
    line = Line()
    exchange = exchange_on(line)
    await exchange.start(200, [])
    line.writable.clear()
    sending = asyncio.create_task(exchange.send(b"x"))
    await asyncio.sleep(0)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert not exchange.gone


async def test_work_that_ends_without_an_answer_ends_the_connection() -> None:
    line = Line()
    exchange = exchange_on(line)
    await exchange.run()
    assert line.closed
