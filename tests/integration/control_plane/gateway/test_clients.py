"""Clients that misbehave, of a gateway in a process of its own: each call is settled once, for what was
delivered, and its engine is let go of within its deadline.

The cards are in a pool, so that money is in every call.
"""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlmodel import Session, select

from control_plane.gateway import Limits
from control_plane.store.economy_tables import QuotaMonth, UsageRecord
from control_plane.store.tables import Call, CallOutcome
from tests.support.crash_checks import assert_in_order
from tests.support.crash_world import Child, World, world
from tests.support.gateway import OTHER_CODING_KEY, OTHER_KEY
from tests.support.gateway_engine import END, PROMPT_TOKENS, Exchange, chunk, last_chunk
from tests.support.plain_client import Asked, ask, body_of

# DESIGN's promise: a client that goes away cancels the engine's work within that.
ENGINE_FREE_S = 1.0
# How late a timer of the gateway may be.
TICK_S = 1.0
ROLE = chunk("", role="assistant")


@dataclass
class Place:
    """A gateway with one call to come."""

    here: World
    child: Child
    asked: list[Asked] = field(default_factory=list)

    def engine_does(self, script: Callable[[Exchange], Awaitable[None]]) -> None:
        self.here.lent.engine.scripts.append(script)

    async def reached(self, count: int = 1) -> Exchange:
        return await self.here.lent.engine.wait_for(count)

    async def ask(self, *, streamed: bool, leave: Callable[[Asked], bool] = lambda _: False) -> Asked:
        one = Asked(body_of("hi", streamed=streamed), OTHER_KEY)
        self.asked.append(one)
        await ask(self.child.port, one, leave)
        return one

    async def ended(self, count: int = 1) -> list[Call]:
        """The calls on record, once all have ended."""

        def query(session: Session) -> list[Call]:
            return list(session.exec(select(Call)))

        async with asyncio.timeout(10):
            while True:
                calls = self.here.read(query)
                if len(calls) == count and all(call.outcome != CallOutcome.RUNNING for call in calls):
                    return calls
                await asyncio.sleep(0.01)

    def used(self) -> list[tuple[int, int]]:
        """Prompt and completion tokens of the settled records."""

        def query(session: Session) -> list[tuple[int, int]]:
            records = session.exec(select(UsageRecord))
            return [(record.prompt_tokens, record.completion_tokens) for record in records]

        return self.here.read(query)

    def used_of(self, agent_id: str) -> list[int]:
        """Completion tokens settled with one card."""
        statement = select(UsageRecord.completion_tokens).where(UsageRecord.agent_id == agent_id)
        return self.here.read(lambda session: list(session.exec(statement)))

    def held(self) -> int:
        return self.here.read(
            lambda session: sum(row.held_tokens for row in session.exec(select(QuotaMonth)))
        )

    def memory_kib(self) -> int:
        status = Path(f"/proc/{self.child.process.pid}/status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith("VmRSS")]
        return int(line.split()[1])

    def sockets(self) -> int:
        links = Path(f"/proc/{self.child.process.pid}/fd").iterdir()
        return sum(1 for link in links if str(link.readlink()).startswith("socket:"))


@asynccontextmanager
async def place(directory: Path, limits: Limits | None = None) -> AsyncIterator[Place]:
    database = f"sqlite:///{directory / 'daalu.db'}"
    async with world(database, directory, limits or Limits()) as here, here.life() as child:
        made = Place(here, child)
        yield made
        here.read(lambda session: assert_in_order(session, made.asked))


async def _hung_up_within(exchange: Exchange, limit_s: float) -> None:
    async with asyncio.timeout(limit_s):
        await exchange.hung_up.wait()


async def test_a_client_that_vanishes_before_the_engine_answers_pays_nothing(tmp_path: Path) -> None:
    async def mute(exchange: Exchange) -> None:
        await exchange.hung_up.wait()

    async with place(tmp_path) as at:
        at.engine_does(mute)
        asking = asyncio.create_task(at.ask(streamed=True))
        exchange = await at.reached()
        assert at.held() > 0
        asking.cancel()
        await _hung_up_within(exchange, ENGINE_FREE_S)
        [call] = await at.ended()
        assert call.outcome == CallOutcome.CLIENT_GONE
        assert (at.used(), at.held()) == ([], 0)


async def test_a_client_that_vanishes_before_content_pays_the_prompt_that_the_engine_took(
    tmp_path: Path,
) -> None:
    begun = asyncio.Event()

    async def begins(exchange: Exchange) -> None:
        await exchange.start_stream()
        await exchange.piece(ROLE)
        begun.set()
        await exchange.hung_up.wait()

    # Early headers tell the client, and the test, that the gateway has seen the engine's.
    async with place(tmp_path, Limits(early_headers_s=0.3)) as at:
        at.engine_does(begins)
        await at.ask(streamed=True, leave=lambda so_far: begun.is_set() and b": ping" in so_far.received)
        await _hung_up_within(await at.reached(), ENGINE_FREE_S)
        [call] = await at.ended()
        assert call.outcome == CallOutcome.CLIENT_GONE
        assert (at.used(), at.held()) == ([(PROMPT_TOKENS, 0)], 0)


WORD_1, WORD_2, LAST = chunk("word1", done=1), chunk("word2", done=2), chunk("", done=3, finish="stop")


@pytest.mark.parametrize(
    ("events", "seen"),
    [((WORD_1, WORD_2), b"word2"), ((WORD_1, WORD_2, LAST), b'"finish_reason":"stop"')],
    ids=["mid-stream", "after the last token, before the end marker"],
)
async def test_a_client_that_vanishes_pays_for_what_it_got(
    tmp_path: Path, events: tuple[bytes, ...], seen: bytes
) -> None:
    async def goes_silent(exchange: Exchange) -> None:
        await exchange.start_stream()
        for one in (ROLE, *events):
            await exchange.piece(one)
        await exchange.hung_up.wait()

    async with place(tmp_path) as at:
        at.engine_does(goes_silent)
        await at.ask(streamed=True, leave=lambda so_far: seen in so_far.received)
        await _hung_up_within(await at.reached(), ENGINE_FREE_S)
        [call] = await at.ended()
        assert call.outcome == CallOutcome.CLIENT_GONE
        assert (at.used(), at.held()) == ([(PROMPT_TOKENS, len(events))], 0)


async def test_cancelling_while_the_end_is_on_its_way_settles_each_call_once(tmp_path: Path) -> None:
    """Some of the clients leave before the settlement, some during it, some after the end marker."""
    rounds = 30

    async def whole(exchange: Exchange) -> None:
        await exchange.start_stream()
        last = (chunk("", done=2, finish="stop"), last_chunk(2), END)
        await exchange.piece(b"".join((ROLE, chunk("word", done=1), *last)))
        await exchange.end_stream()

    async with place(tmp_path) as at:
        for _ in range(rounds):
            at.engine_does(whole)
            await at.ask(streamed=True, leave=lambda so_far: so_far.words == 1)
        calls = await at.ended(rounds)
        assert {call.outcome for call in calls} <= {CallOutcome.COMPLETE, CallOutcome.CLIENT_GONE}
        assert (at.used(), at.held()) == ([(PROMPT_TOKENS, 2)] * rounds, 0)


async def test_cancelling_a_whole_answer_frees_the_engine_at_once_and_costs_nothing(tmp_path: Path) -> None:
    async def works(exchange: Exchange) -> None:
        await exchange.hung_up.wait()

    async with place(tmp_path) as at:
        at.engine_does(works)
        asking = asyncio.create_task(at.ask(streamed=False))
        exchange = await at.reached()
        asking.cancel()
        await _hung_up_within(exchange, ENGINE_FREE_S)
        [call] = await at.ended()
        assert call.outcome == CallOutcome.CLIENT_GONE
        assert (at.used(), at.held()) == ([], 0)


async def _send_slowly(port: int, request: bytes, pause_s: float) -> tuple[bytes, float]:
    """The head at once and the body in ten parts; what came back, and how long all of it took."""
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head, _, body = request.partition(b"\r\n\r\n")
    writer.write(head + b"\r\n\r\n")
    received = asyncio.create_task(reader.read())
    step = len(body) // 10 + 1
    for start in range(0, len(body), step):
        if received.done():
            break
        writer.write(body[start : start + step])
        await asyncio.sleep(pause_s)
    reply = await received
    writer.close()
    return reply, time.monotonic() - began


async def test_a_body_that_comes_slowly_and_in_time_is_served_and_settled_once(tmp_path: Path) -> None:
    async with place(tmp_path, Limits(request_body_s=10, request_body_gap_s=2)) as at:
        request = Asked(body_of("words", streamed=False), OTHER_KEY).request()
        reply, _ = await _send_slowly(at.child.port, request, 0.02)
        assert reply.startswith(b"HTTP/1.1 200")
        [call] = await at.ended()
        assert (call.outcome, at.used(), at.held()) == ("complete", [(PROMPT_TOKENS, 5)], 0)


@pytest.mark.parametrize(
    ("limits", "pause_s"),
    [
        (Limits(request_body_s=0.5, request_body_gap_s=10), 0.2),
        (Limits(request_body_s=10, request_body_gap_s=0.3), 0.6),
    ],
    ids=["as a whole", "between two parts"],
)
async def test_a_body_that_comes_too_slowly_is_refused_in_time_and_holds_nothing(
    tmp_path: Path, limits: Limits, pause_s: float
) -> None:
    async with place(tmp_path, limits) as at:
        request = Asked(body_of("words", streamed=False), OTHER_KEY).request()
        reply, took_s = await _send_slowly(at.child.port, request, pause_s)
        assert reply.startswith(b"HTTP/1.1 408")
        assert json.loads(reply.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_timeout"
        assert took_s < min(limits.request_body_s, limits.request_body_gap_s) + pause_s + TICK_S
        assert (await at.ended(0), at.used(), at.held()) == ([], [], 0)
        assert at.here.lent.engine.connections == 0


STALLED = 8
WORD_BYTES = 50_000
# What each engine would push, were it read: 60 MB, and eight of them.
WORDS = 1_200
# For each stalled client: what is read ahead, what the transport buffers, and pieces on their way.
MOST_KIB_EACH = 3 * 1024


async def test_clients_that_stop_reading_cost_little_memory_and_pay_for_what_was_delivered(
    tmp_path: Path,
) -> None:
    limits = Limits(client_stall_s=1.0)
    pushed: list[int] = []
    stopped_at: list[float] = []

    async def floods(exchange: Exchange) -> None:
        number = len(pushed)
        pushed.append(0)
        stopped_at.append(0.0)
        await exchange.start_stream()
        await exchange.piece(ROLE)
        try:
            for done in range(1, WORDS + 1):
                await exchange.piece(chunk("word" + "x" * WORD_BYTES, done=done))
                pushed[number], stopped_at[number] = done, time.monotonic()
        except ConnectionError:
            exchange.hung_up.set()

    # Of an operator's card: for a provider's, the text that was delivered is kept to be counted.
    async with place(tmp_path, limits) as at:
        # One call first, for what is made once and kept.
        assert (await at.ask(streamed=True)).saw_end
        engine = at.here.hosted.engine
        engine.otherwise = floods
        before_kib, sockets = at.memory_kib(), at.sockets()
        most_kib = before_kib
        clients = [_stalled_client(at.child.port) for _ in range(STALLED)]
        exchanges = [await engine.wait_for(count) for count in range(1, STALLED + 1)]
        while not all(exchange.hung_up.is_set() for exchange in exchanges):
            most_kib = max(most_kib, at.memory_kib())
            last = max(stopped_at)
            assert not last or time.monotonic() - last < limits.client_stall_s + ENGINE_FREE_S + TICK_S
            await asyncio.sleep(0.02)
        calls = await at.ended(STALLED + 1)
        assert sum(call.outcome == CallOutcome.CLIENT_GONE for call in calls) == STALLED
        assert most_kib - before_kib < STALLED * MOST_KIB_EACH
        async with asyncio.timeout(5):
            # The clients have their ends still: it does not wait for them to take the rest.
            while at.sockets() > sockets:  # noqa: ASYNC110 - what the process has open is what is waited for
                await asyncio.sleep(0.05)
        got = sorted(_words_in(client) for client in clients)
        used = sorted(at.used_of("agt-hosted"))
        assert len(used) == STALLED
        for words, settled, engines in zip(got, used, sorted(pushed), strict=True):
            assert 0 < words <= settled <= engines < WORDS
        assert at.held() == 0


def _stalled_client(port: int) -> socket.socket:
    """It asks, and reads nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    client.connect(("127.0.0.1", port))
    client.sendall(Asked(body_of("hi", streamed=True), OTHER_CODING_KEY).request())
    return client


def _words_in(client: socket.socket) -> int:
    """Of what waits for it in its own kernel; closes it."""
    client.setblocking(False)
    received = bytearray()
    try:
        while data := client.recv(1 << 20):
            received += data
    except (BlockingIOError, ConnectionError):
        pass
    client.close()
    return received.count(b'"content":"word')
