"""Cards that lie in ways that no count can put right: nothing is charged by them, nothing stays held."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from control_plane.gateway import Limits
from control_plane.identifiers import AgentId
from control_plane.store import Store
from control_plane.store.economy_tables import AttemptTerms, LedgerEntry, UsageRecord
from tests.support.control_plane import free_ports
from tests.support.gateway import OTHER_KEY, fleet_view
from tests.support.gateway_engine import END, PROMPT_TOKENS, Exchange, answer, chunk, event
from tests.support.market import EventCounting, Terms
from tests.support.market_front import market

ASK: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20}
# None of these is a number of tokens.
NO_COUNTS: list[Any] = [-1_000_000, 1.5, 2**62, "7", True, [1], {"a": 1}]


def _usage(value: Any) -> dict[str, Any]:
    return {"prompt_tokens": value, "total_tokens": 9, "completion_tokens": value}


@pytest.mark.parametrize("value", NO_COUNTS, ids=str)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_a_claim_that_is_no_count_is_no_claim(sqlite_store: Store, value: Any, streamed: bool) -> None:
    async def lies(exchange: Exchange) -> None:
        if not streamed:
            await exchange.send_json({**answer("Hello"), "usage": _usage(value)})
            return
        words = json.loads(chunk("word")[6:])
        last = json.loads(chunk("", finish="stop")[6:])
        last_usage = {**last, "choices": [], "usage": _usage(value)}
        told = [event({**each, "usage": _usage(value)}) for each in (words, last)]
        await exchange.stream([*told, event(last_usage), END])

    async with market(sqlite_store, Terms(concurrent_calls=1), scripts=(lies, lies), hosted=False) as here:
        for _ in range(2):
            # The second finds the place among the concurrent calls that the first has left.
            reply = await here.post({**ASK, "stream": streamed})
            assert reply.status_code == 200
        records = await here.read(UsageRecord)
        assert [record.claimed_completion_tokens for record in records] == [None, None]
        assert all(0 <= record.prompt_tokens <= PROMPT_TOKENS for record in records)
        assert all(record.charge_pico_usd >= 0 for record in records)
        assert (await here.quota())[1] == 0


async def test_what_a_crash_would_settle_by_is_no_more_than_was_counted(sqlite_store: Store) -> None:
    """A checkpoint of a card that claims a hundred times what it says."""

    async def inflates(exchange: Exchange) -> None:
        await exchange.start_stream()
        for done in (100, 200):
            await exchange.piece(chunk("word", done=done))
        await exchange.hung_up.wait()

    limits = Limits(checkpoint_every_s=0.02)
    body = {**ASK, "stream": True, "max_tokens": 1_000}
    async with (
        market(sqlite_store, scripts=(inflates,), hosted=False, limits=limits) as here,
        httpx2.AsyncClient(headers={"authorization": f"Bearer {OTHER_KEY}"}, timeout=20) as http,
        http.stream("POST", f"{here.front.url}/v1/chat/completions", json=body) as reply,
        asyncio.timeout(20),
    ):
        assert reply.status_code == 200
        while (terms := (await here.read(AttemptTerms))[0]).checkpoint_completion_tokens < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        assert (terms.checkpoint_prompt_tokens, terms.checkpoint_completion_tokens) == (PROMPT_TOKENS, 2)


async def test_an_end_marker_in_disguise_does_not_get_past_the_settlement(sqlite_store: Store) -> None:
    async def early(exchange: Exchange) -> None:
        await exchange.start_stream()
        await exchange.piece(chunk("word", done=1))
        await exchange.piece(b"data:[DONE]\n\n")
        await exchange.end_stream()

    async with market(sqlite_store, scripts=(early,), hosted=False) as here:
        reply = await here.post({**ASK, "stream": True})
        assert reply.text.count("[DONE]") == 1
        assert (await here.usage()).completion_tokens == 1


class _CannotCount(EventCounting):
    async def count(self, *_: Any) -> Any:
        raise RuntimeError("a fault of our own")


async def test_a_call_that_cannot_be_metered_is_not_charged_and_leaves_nothing_held(
    sqlite_store: Store,
) -> None:
    async with market(sqlite_store, Terms(concurrent_calls=1), hosted=False, counting=_CannotCount()) as here:
        for streamed in (False, True):
            reply = await here.post({**ASK, "stream": streamed})
            assert "[DONE]" not in reply.text
            assert reply.status_code == (200 if streamed else 503)
        assert await here.read(UsageRecord) == []
        assert await here.read(LedgerEntry) == []
        assert {terms.hold_state for terms in await here.read(AttemptTerms)} == {"void"}
        assert (await here.quota())[1] == 0


async def test_an_engines_words_are_kept_short_and_without_what_no_database_stores(
    sqlite_store: Store,
) -> None:
    async def wordy(exchange: Exchange) -> None:
        await exchange.start_stream()
        await exchange.piece(chunk("word", done=1))
        await exchange.piece(event({"error": {"message": "\0" + "x" * 10_000}}))
        await exchange.end_stream()

    async with market(sqlite_store, scripts=(wordy,), hosted=False) as here:
        await here.post({**ASK, "stream": True})
        [attempt] = await here.front.attempts()
        assert attempt.error is not None
        assert len(attempt.error) < 600
        assert "\0" not in attempt.error


async def test_an_odd_request_is_refused_by_somebody_and_not_a_fault_of_ours(sqlite_store: Store) -> None:
    async with market(sqlite_store) as here:
        for odd in ({**ASK, "chat_template_kwargs": 5}, {**ASK, "stop": 5}):
            reply: httpx2.Response = await here.post(odd)
            assert reply.status_code in (200, 400)


async def test_a_trailer_without_end_ends_its_connection(sqlite_store: Store) -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.start_stream()
        await exchange.piece(chunk("word", done=1))
        await exchange.raw(b"0\r\nx: ")
        while not exchange.hung_up.is_set():
            await exchange.raw(b"a" * 16_384)

    async with market(sqlite_store, scripts=(endless,), hosted=False) as here:
        reply = await here.post({**ASK, "stream": True})
        assert json.loads(reply.text.strip().split("data: ")[-1])["error"]["code"] == "stream_broken"


async def test_where_a_card_of_another_tenants_is_reached_stays_in_the_log(sqlite_store: Store) -> None:
    async def nobody(exchange: Exchange) -> None:
        exchange.break_off()

    async with market(sqlite_store, scripts=(nobody,) * 3, hosted=False) as here:
        port = here.lent.port
        agent = here.front.fleet.view.by_id[AgentId("agt-lent")]
        [gone] = free_ports(1)
        moved = replace(agent, engine_port=gone)
        here.front.fleet.view = fleet_view(moved)
        reply = await here.post(ASK)
        assert reply.status_code == 502
        for secret in (str(gone), str(port), "127.0.0.1"):
            assert secret not in reply.text


async def test_an_answer_too_large_to_pass_on_is_not_held_against_the_card(sqlite_store: Store) -> None:
    async def huge(exchange: Exchange) -> None:
        await exchange.send_json(answer("x" * 5_000))

    limits = Limits(response_body_bytes=1_000)
    async with market(sqlite_store, scripts=(huge,) * 6, hosted=False, limits=limits) as here:
        for _ in range(4):
            await here.post(ASK)
        assert len(here.lent.received) == 4, "its breaker stayed closed"
