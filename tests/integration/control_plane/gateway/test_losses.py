"""Clients that leave, agents that are lost, and what is in flight then."""

import asyncio
import json

import httpx2

from control_plane.fleet import Liveness
from control_plane.gateway import Limits
from control_plane.store import Store
from tests.support.gateway import KEY, agent_view, fleet_view, serving
from tests.support.gateway_client import ASK, HEADERS, ROLE, STREAM, path, post, streaming, until
from tests.support.gateway_engine import (
    END,
    PROMPT_TOKENS,
    Exchange,
    chunk,
    last_chunk,
    scripted_engine,
)


async def hang(exchange: Exchange) -> None:
    """Two tokens, then silence until the other side hangs up."""
    await exchange.start_stream()
    for one in (ROLE, chunk("one", done=1), chunk(" two", done=2)):
        await exchange.piece(one)
    await exchange.hung_up.wait()


async def test_a_client_that_leaves_stops_the_engine_within_a_second_and_is_on_record(
    sqlite_store: Store,
) -> None:
    async with (
        scripted_engine(hang) as engine,
        serving(sqlite_store, agent_view("one", engine.port)) as front,
    ):
        async with streaming(front) as (_, parts):
            await until(parts, b" two")
            exchange = await engine.wait_for(1)
        async with asyncio.timeout(1):
            await exchange.hung_up.wait()
        call = await front.only_call()
        assert (call.outcome, call.prompt_tokens, call.completion_tokens) == ("client_gone", PROMPT_TOKENS, 2)
        [attempt] = await front.attempts()
        assert attempt.outcome == "client_gone"


async def test_a_client_that_leaves_before_a_whole_answer_stops_the_engine(sqlite_store: Store) -> None:
    async def wait(exchange: Exchange) -> None:
        await exchange.hung_up.wait()

    async with (
        scripted_engine(wait) as engine,
        serving(sqlite_store, agent_view("one", engine.port)) as front,
    ):
        leaving = asyncio.create_task(post(front, ASK))
        exchange = await engine.wait_for(1)
        leaving.cancel()
        async with asyncio.timeout(1):
            await exchange.hung_up.wait()
        assert (await front.only_call()).outcome == "client_gone"


async def test_a_revoked_agent_loses_its_streams_at_once(sqlite_store: Store) -> None:
    async with (
        scripted_engine(hang) as engine,
        serving(sqlite_store, agent_view("one", engine.port)) as front,
    ):
        async with streaming(front) as (_, parts):
            await until(parts, b" two")
            front.fleet.view = fleet_view()
            front.fleet.lose("one", "revoked")
            async with asyncio.timeout(2):
                rest = b"".join([part async for part in parts])
        assert b'"code":"stream_broken"' in rest
        assert END not in rest
        exchange = await engine.wait_for(1)
        async with asyncio.timeout(2):
            await exchange.hung_up.wait()
        assert (await front.only_call()).outcome == "failed"


async def test_an_agent_that_stays_lost_loses_each_stream_once_it_is_silent_too(sqlite_store: Store) -> None:
    limits = Limits(recent_byte_s=0.3)
    go_on = asyncio.Event()

    async def lively(exchange: Exchange) -> None:
        await exchange.start_stream()
        await exchange.piece(ROLE)
        done = 0
        while not go_on.is_set():
            done += 1
            await exchange.piece(chunk(" more", done=done))
            await asyncio.sleep(0.02)
        for one in (last_chunk(done), END):
            await exchange.piece(one)
        await exchange.end_stream()

    async with (
        scripted_engine(hang, lively) as engine,
        serving(sqlite_store, agent_view("one", engine.port), limits=limits) as front,
        streaming(front) as (_, silent),
    ):
        await until(silent, b" two")
        async with streaming(front) as (_, alive):
            await until(alive, b" more")
            # Told once, when the silent stream's last byte may still be recent.
            front.fleet.view = fleet_view(agent_view("one", engine.port, liveness=Liveness.OUT))
            front.fleet.lose("one", "out: silent for 15 s")
            async with asyncio.timeout(2):
                assert b"stream_broken" in b"".join([part async for part in silent])
            go_on.set()
            async with asyncio.timeout(2):
                assert b"".join([part async for part in alive]).endswith(END)


async def test_a_slow_client_slows_its_engine_and_is_given_up_in_the_end(sqlite_store: Store) -> None:
    async def flood(exchange: Exchange) -> None:
        await exchange.start_stream()
        await exchange.piece(ROLE)
        try:
            for done in range(1, 4000):
                await exchange.piece(chunk("x" * 50_000, done=done))
        except ConnectionError:
            exchange.hung_up.set()
            return

    limits = Limits(client_stall_s=0.5)
    async with (
        scripted_engine(flood) as engine,
        serving(sqlite_store, agent_view("one", engine.port), limits=limits) as front,
    ):
        port = int(front.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        body = json.dumps(STREAM).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        exchange = await engine.wait_for(1)
        async with asyncio.timeout(10):
            await exchange.hung_up.wait()
        call = await front.only_call()
        assert call.outcome == "client_gone"
        assert 0 < call.completion_tokens < 3999
        writer.close()
        assert reader is not None


async def test_calls_that_share_connections_do_not_end_each_other(sqlite_store: Store) -> None:
    """A call gives its connection up before it is settled, and another one has it by the time it ends."""
    rounds, clients = 20, 16

    async with (
        scripted_engine() as engine,
        serving(sqlite_store, agent_view("one", engine.port)) as front,
        httpx2.AsyncClient(headers=HEADERS, timeout=20) as http,
    ):

        async def ask_again_and_again() -> list[int]:
            return [(await http.post(path(front), json=ASK)).status_code for _ in range(rounds)]

        asked = [asyncio.create_task(ask_again_and_again()) for _ in range(clients)]
        assert [await each for each in asked] == [[200] * rounds] * clients
