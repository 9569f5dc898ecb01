"""What a stop of the listener does to calls under way."""

import asyncio

import pytest

from control_plane.api import listeners
from control_plane.store import Store
from tests.support.gateway import agent_view, serving
from tests.support.gateway_client import ASK, ROLE, STREAM
from tests.support.gateway_engine import END, Exchange, chunk, last_chunk, scripted_engine
from tests.support.raw_http import call, connected


class Held:
    """A stream that goes on when it is let."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.start_stream()
        for one in (ROLE, chunk("one", done=1)):
            await exchange.piece(one)
        await self.go_on.wait()
        for one in (last_chunk(1), END):
            await exchange.piece(one)
        await exchange.end_stream()


async def test_a_stream_under_way_is_finished_and_nothing_after_it_is_begun(sqlite_store: Store) -> None:
    held = Held()
    async with (
        scripted_engine(held) as engine,
        serving(sqlite_store, agent_view("one", engine.port)) as front,
        connected(front.url) as idle,
        connected(front.url) as http,
    ):
        idle.send(call(ASK, path="/v1/nothing"))
        assert (await idle.reply()).status == 404
        http.send(call(STREAM))
        await http.reader.readuntil(b"one")
        front.listener.stop()
        assert await idle.ended()
        http.send(call(ASK))
        held.go_on.set()
        async with asyncio.timeout(10):
            assert (await http.reader.read()).endswith(END + b"\r\n0\r\n\r\n")
        with pytest.raises(ConnectionRefusedError):
            async with connected(front.url):
                pass
        assert (await front.only_call()).outcome == "complete"
        assert len(engine.received) == 1


async def test_a_stream_that_outlasts_the_grace_is_cut_and_on_record(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "STOP_GRACE_S", 1)
    async with (
        scripted_engine(Held()) as engine,
        serving(sqlite_store, agent_view("one", engine.port)) as front,
        connected(front.url) as http,
    ):
        http.send(call(STREAM))
        await http.reader.readuntil(b"one")
        front.listener.stop()
        async with asyncio.timeout(10):
            assert END not in await http.reader.read()
        call_on_record = await front.only_call()
        assert (call_on_record.outcome, call_on_record.completion_tokens) == ("client_gone", 1)
