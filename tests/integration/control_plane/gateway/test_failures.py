"""Engines that fail, and a store that does."""

import asyncio
import json
import time
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from control_plane.gateway import Limits
from control_plane.store import Store
from tests.support.gateway import agent_view, serving
from tests.support.gateway_client import ASK, ROLE, STREAM, post, streaming, until
from tests.support.gateway_engine import (
    END,
    Exchange,
    answer,
    chunk,
    event,
    scripted_engine,
    stream_of,
    well_behaved,
)


async def broken_at_once(exchange: Exchange) -> None:
    exchange.break_off()


async def broken_before_content(exchange: Exchange) -> None:
    await exchange.start_stream()
    await exchange.piece(ROLE)
    exchange.break_off()


async def broken_after_content(exchange: Exchange) -> None:
    await exchange.start_stream()
    for one in (ROLE, chunk("one", done=1), chunk(" two", done=2)):
        await exchange.piece(one)
    exchange.break_off()


async def error_before_content(exchange: Exchange) -> None:
    error = {"message": "out of memory", "type": "InternalServerError", "param": None, "code": 500}
    await exchange.stream([ROLE, event({"error": error}), END])


async def error_after_content(exchange: Exchange) -> None:
    error = {"message": "out of memory", "type": "InternalServerError", "param": None, "code": 500}
    await exchange.stream([ROLE, chunk("one", done=1), event({"error": error}), END])


async def ended_without_marker(exchange: Exchange) -> None:
    await exchange.stream([ROLE])


async def status_500(exchange: Exchange) -> None:
    await exchange.send_json({"error": {"message": "dead"}}, 500)


async def ticket_refused(exchange: Exchange) -> None:
    await exchange.send_json({"error": {"message": "no ticket"}}, 401)


async def not_http(exchange: Exchange) -> None:
    await exchange.raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")


async def endless_headers(exchange: Exchange) -> None:
    await exchange.raw(b"HTTP/1.1 200 OK\r\n" + b"x-a: " + b"y" * 100_000)


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (broken_at_once, "connection_lost"),
        (broken_before_content, "connection_lost"),
        (error_before_content, "engine_error"),
        (ended_without_marker, "connection_lost"),
        (status_500, "engine_500"),
        (ticket_refused, "engine_401"),
        (not_http, "protocol_error"),
        (endless_headers, "protocol_error"),
    ],
)
async def test_a_failure_before_content_falls_through_to_the_next_card(
    sqlite_store: Store, script: Any, error: str
) -> None:
    async with scripted_engine(script) as bad, scripted_engine() as good:
        agents = (agent_view("a-bad", bad.port), agent_view("b-good", good.port))
        async with serving(sqlite_store, *agents) as front:
            reply = await post(front, STREAM)
            assert reply.status_code == 200
            assert reply.content.endswith(END)
            assert reply.content.count(b'"role":"assistant"') == 1
            call = await front.only_call()
            assert (call.outcome, call.agent_id) == ("complete", "agt-b-good")
            first, second = await front.attempts()
            assert (first.outcome, first.error, first.completion_tokens) == ("failed", error, 0)
            assert second.outcome == "complete"
            assert bad.received[0].headers["x-daalu-ticket"] != good.received[0].headers["x-daalu-ticket"]
            assert json.loads(call.decision)["attempts"][0]["error"] == error


async def test_an_engine_that_cannot_be_reached_is_a_failed_attempt(sqlite_store: Store) -> None:
    async with scripted_engine() as good:
        agents = (agent_view("a-bad", 1), agent_view("b-good", good.port))
        async with serving(sqlite_store, *agents) as front:
            assert (await post(front, ASK)).status_code == 200
            assert [attempt.error for attempt in await front.attempts()] == ["connect_failed", None]


async def test_when_every_card_fails_the_client_gets_one_error(sqlite_store: Store) -> None:
    async with (
        scripted_engine(status_500, status_500) as bad,
        serving(sqlite_store, agent_view("one", bad.port)) as front,
    ):
        reply = await post(front, ASK)
        assert (reply.status_code, reply.json()["error"]["code"]) == (502, "engine_failed")
        call = await front.only_call()
        assert (call.outcome, call.http_status, call.error_code) == ("failed", 502, "engine_failed")
        assert len(bad.received) == 1


async def test_a_client_error_of_the_engine_goes_to_the_client_and_is_not_tried_again(
    sqlite_store: Store,
) -> None:
    error = {"error": {"message": "too long", "type": "BadRequestError", "param": "messages", "code": 400}}

    async def refuse(exchange: Exchange) -> None:
        await exchange.send_json(error, 400)

    async with scripted_engine(refuse, refuse) as engine:
        agents = (agent_view("one", engine.port), agent_view("two", engine.port))
        async with serving(sqlite_store, *agents) as front:
            reply = await post(front, ASK)
            assert (reply.status_code, reply.json()) == (400, error)
            assert len(engine.received) == 1
            call = await front.only_call()
            assert (call.outcome, call.http_status, call.error_code) == ("failed", 400, "engine_refused")


@pytest.mark.parametrize("script", [broken_after_content, error_after_content])
async def test_a_stream_that_breaks_ends_with_an_error_event_and_no_end_marker(
    sqlite_store: Store, script: Any
) -> None:
    async with scripted_engine(script) as bad, scripted_engine() as good:
        agents = (agent_view("a-bad", bad.port), agent_view("b-good", good.port))
        async with serving(sqlite_store, *agents) as front:
            began = time.monotonic()
            reply = await post(front, STREAM)
            assert time.monotonic() - began < 2
            last = reply.content.rstrip().rpartition(b"\n\n")[2]
            assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "stream_broken"
            assert END not in reply.content
            assert good.received == []
            call = await front.only_call()
            assert (call.outcome, call.error_code) == ("failed", "stream_broken")
            assert call.completion_tokens >= 1


async def test_a_kept_connection_that_was_closed_is_replaced_with_a_new_attempt(sqlite_store: Store) -> None:
    async with (
        scripted_engine(well_behaved, broken_at_once) as engine,
        serving(sqlite_store, agent_view("one", engine.port)) as front,
    ):
        for _ in range(2):
            assert (await post(front, ASK)).status_code == 200
        attempts = await front.attempts()
        assert [attempt.error for attempt in attempts] == [None, "connection_lost", None]
        tickets = {exchange.headers["x-daalu-ticket"] for exchange in engine.received}
        assert len(tickets) == 3


async def test_headers_go_out_early_and_pings_follow_while_content_is_late(sqlite_store: Store) -> None:
    limits = Limits(early_headers_s=0.05, ping_every_s=0.05)
    release = asyncio.Event()

    async def late(exchange: Exchange) -> None:
        await release.wait()
        await exchange.stream(stream_of("late"))

    async with (
        scripted_engine(status_500) as bad,
        scripted_engine(late) as good,
        serving(
            sqlite_store, agent_view("a-bad", bad.port), agent_view("b-good", good.port), limits=limits
        ) as front,
        streaming(front) as (reply, parts),
    ):
        assert reply.status_code == 200
        assert reply.headers["x-daalu-call-id"].startswith("call-")
        assert "x-daalu-model" not in reply.headers
        await until(parts, b": ping\n\n: ping\n\n")
        release.set()
        rest = b"".join([part async for part in parts])
        assert b"x-daalu-tier=own x-daalu-model=tiny" in rest
        assert rest.endswith(END)


async def test_a_failure_after_early_headers_is_an_error_event(sqlite_store: Store) -> None:
    limits = Limits(early_headers_s=0.05)
    release = asyncio.Event()

    async def fail(exchange: Exchange) -> None:
        await release.wait()
        exchange.break_off()

    async with (
        scripted_engine(fail) as engine,
        serving(sqlite_store, agent_view("one", engine.port), limits=limits) as front,
        streaming(front) as (_, parts),
    ):
        await until(parts, b": ping\n\n")
        release.set()
        rest = b"".join([part async for part in parts])
        assert b'"code":"engine_failed"' in rest
        assert END not in rest


async def test_an_engine_that_says_nothing_is_given_up(sqlite_store: Store) -> None:
    async def mute(exchange: Exchange) -> None:
        await exchange.hung_up.wait()

    limits = Limits(whole_answer_s=0.2)
    async with (
        scripted_engine(mute) as engine,
        serving(sqlite_store, agent_view("one", engine.port), limits=limits) as front,
    ):
        reply = await post(front, ASK)
        assert (reply.status_code, reply.json()["error"]["code"]) == (504, "engine_timeout")


async def test_an_answer_larger_than_allowed_is_not_passed_on(sqlite_store: Store) -> None:
    async def huge(exchange: Exchange) -> None:
        await exchange.send_json(answer("x" * 5000))

    limits = Limits(response_body_bytes=1000)
    async with (
        scripted_engine(huge) as engine,
        serving(sqlite_store, agent_view("one", engine.port), limits=limits) as front,
    ):
        assert (await post(front, ASK)).status_code == 502


class _Unwritable(Exception):
    pass


def full_disk(_save_all: object, _item: object) -> "asyncio.Future[None]":
    failed = asyncio.get_running_loop().create_future()
    failed.set_exception(OperationalError("INSERT", {}, _Unwritable("database or disk is full")))
    return failed


def stuck_disk(_save_all: object, _item: object) -> "asyncio.Future[None]":
    return asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("write_item", [full_disk, stuck_disk])
async def test_own_card_calls_go_on_when_the_store_cannot_be_written_and_are_written_later(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch, write_item: Any
) -> None:
    limits = Limits(unwritten_calls=2, catch_up_every_s=0.05, record_wait_s=0.2)
    async with (
        scripted_engine() as engine,
        serving(sqlite_store, agent_view("one", engine.port), limits=limits) as front,
    ):
        with monkeypatch.context() as broken:
            broken.setattr(sqlite_store, "write_item", write_item)
            for _ in range(2):
                assert (await post(front, ASK)).status_code == 200
            assert front.gateway.unwritten_calls_count == 2
            reply = await post(front, ASK)
            assert (reply.status_code, reply.json()["error"]["code"]) == (503, "records_unavailable")
        async with asyncio.timeout(5):
            while len(calls := await front.calls()) < 2:  # noqa: ASYNC110 - the rows are what is waited for
                await asyncio.sleep(0.02)
        assert [call.outcome for call in calls] == ["complete", "complete"]
