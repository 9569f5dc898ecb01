"""At the edges of a pool call: answers that are none, requests of many prompts, and fields for nobody."""

from typing import Any

import httpx2
import pytest
from sqlmodel import select

from control_plane.economy import verify
from control_plane.store import Store
from control_plane.store.economy_tables import ExternalMonth, LedgerEntry, Overage, QuotaMonth, UsageRecord
from tests.support.gateway import OTHER_KEY, Front, serving
from tests.support.gateway_engine import Exchange, Script, answer, chunk, event, scripted_engine
from tests.support.market import EventCounting, Terms, open_market, operators_card, providers_card
from tests.support.scenes import Given, State, ask, world

ASK: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20}


async def post(front: Front, body: dict[str, Any], path: str = "/v1/chat/completions") -> httpx2.Response:
    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {OTHER_KEY}"}, timeout=20) as http:
        return await http.post(front.url + path, json=body)


async def errs_within_a_stream(exchange: Exchange) -> None:
    await exchange.start_stream()
    await exchange.piece(chunk("", role="assistant"))
    await exchange.piece(event({"error": {"message": "too long", "type": "BadRequestError", "code": 400}}))
    await exchange.end_stream()


async def fails_within_a_stream(exchange: Exchange) -> None:
    await exchange.start_stream()
    await exchange.piece(chunk("", role="assistant"))
    await exchange.piece(event({"error": {"message": "out of memory", "type": "InternalError", "code": 500}}))
    await exchange.end_stream()


async def refuses(exchange: Exchange) -> None:
    await exchange.send_json({"error": {"message": "no", "type": "BadRequestError", "code": 400}}, 400)


async def says_nothing(exchange: Exchange) -> None:
    await exchange.start_stream()
    await exchange.end_stream()


@pytest.mark.parametrize(
    ("script", "status"),
    [(errs_within_a_stream, 400), (fails_within_a_stream, 502), (refuses, 400), (says_nothing, 502)],
)
@pytest.mark.parametrize("card", [operators_card, providers_card])
async def test_an_answer_that_is_an_error_charges_and_credits_nothing(
    sqlite_store: Store, script: Script, status: int, card: Any
) -> None:
    async with scripted_engine(*[script] * 3) as engine:
        agent = card(engine.port)
        async with serving(sqlite_store, agent, counting=EventCounting()) as front:
            open_market(sqlite_store, (agent,))
            await front.economy.refresh()
            reply = await post(front, {**ASK, "stream": True})
            assert reply.status_code == status
    with sqlite_store.reading() as session:
        assert list(session.exec(select(UsageRecord))) == []
        assert list(session.exec(select(LedgerEntry))) == []
        [month] = session.exec(select(QuotaMonth))
        assert (month.used_tokens, month.held_tokens) == (0, 0)
    with sqlite_store.reading() as session:
        assert verify(session) == []


async def test_a_vendors_refusal_within_a_stream_costs_nothing(sqlite_store: Store) -> None:
    given = Given(hosted=None, lent=None, vendor=State.READY, cap_micro_usd=1_000_000, streamed=True)
    async with world(sqlite_store, given) as (front, engines):
        engines["vendor"].scripts = [errs_within_a_stream]
        reply = await ask(front, given)
        assert reply.status_code == 400
    with sqlite_store.reading() as session:
        assert list(session.exec(select(UsageRecord))) == []
        [month] = session.exec(select(ExternalMonth))
        assert (month.used_pico_usd, month.held_pico_usd) == (0, 0)
    with sqlite_store.reading() as session:
        assert verify(session) == []


async def test_a_request_of_many_prompts_counts_as_many_at_the_limit_of_tokens(sqlite_store: Store) -> None:
    async def answers_all(exchange: Exchange) -> None:
        await exchange.send_json(answer("x", completion=100 * 20))

    body = {"model": "tiny", "prompt": ["hi"] * 100, "max_tokens": 20}
    async with scripted_engine(*[answers_all] * 3) as engine:
        agent = operators_card(engine.port)
        async with serving(sqlite_store, agent, counting=EventCounting()) as front:
            open_market(sqlite_store, (agent,), Terms(tokens_per_minute=4_500))
            await front.economy.refresh()
            codes = [(await post(front, body, "/v1/completions")).status_code for _ in range(3)]
            assert codes == [200, 200, 429]


async def test_a_field_that_neither_a_shared_card_nor_a_vendor_takes_opens_no_connection(
    sqlite_store: Store,
) -> None:
    given = Given(
        subscribed=("hosted", "shared"),
        overage=Overage.EXTERNAL,
        vendor=State.READY,
        cap_micro_usd=1_000_000,
        fields={"use_beam_search": True},
    )
    async with world(sqlite_store, given) as (front, engines):
        reply = await ask(front, given)
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "field_not_shared")
        assert "use_beam_search" in reply.json()["error"]["message"]
        assert reply.headers["x-daalu-fall-through"] == "no"
        assert [engine.connections for engine in engines.values()] == [0, 0, 0, 0]
