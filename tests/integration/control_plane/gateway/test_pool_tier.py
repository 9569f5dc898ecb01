"""Calls that a pool serves: who may, on which card, what it costs, whom it earns, and when it is refused."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx2
import openai
import pytest
from sqlmodel import Session, select

from control_plane.economy import NewPin, add_pin, start_subscription, verify, withdraw
from control_plane.fleet import Health, Liveness
from control_plane.gateway import Limits
from control_plane.gateway.queries import reserve_all
from control_plane.store import Store
from control_plane.store.economy_tables import (
    Account,
    AttemptTerms,
    Billing,
    HoldState,
    LedgerEntry,
    LedgerTransaction,
    Plan,
    Pool,
    TransactionKind,
    TrustPolicy,
    UsageRecord,
)
from control_plane.store.tables import Agent, Tenant, Tier
from tests.support.gateway import CODING_KEY, KEY, OTHER_CODING_KEY, OTHER_KEY, engine_view, serving
from tests.support.gateway_engine import (
    END,
    PROMPT_TOKENS,
    Exchange,
    answer,
    chunk,
    last_chunk,
    scripted_engine,
)
from tests.support.market import (
    PRICE,
    SHARE_BASIS_POINTS,
    EventCounting,
    Terms,
    open_market,
    operators_card,
)
from tests.support.market_front import Market, market

ASK: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20}
STREAM = {**ASK, "stream": True}


async def test_a_consumers_call_is_charged_and_the_cards_owner_credited(sqlite_store: Store) -> None:
    async with market(sqlite_store, hosted=False) as here:
        reply = await here.post(ASK)
        assert reply.status_code == 200
        assert (reply.headers["x-daalu-tier"], reply.headers["x-daalu-pool"]) == ("pool", "shared")
        used = await here.usage()
        charge = PROMPT_TOKENS * PRICE.input_micro_usd_per_mtok + 5 * PRICE.output_micro_usd_per_mtok
        assert (used.prompt_tokens, used.completion_tokens, used.charge_pico_usd) == (
            PROMPT_TOKENS,
            5,
            charge,
        )
        assert used.credit_pico_usd == charge * SHARE_BASIS_POINTS // 10_000
        entries = {row.account: row for row in await here.read(LedgerEntry)}
        assert entries[Account.HELD].tenant_id == "ten-a"
        assert entries[Account.HELD].amount_pico_usd == used.credit_pico_usd
        assert entries[Account.PLATFORM].amount_pico_usd == charge - used.credit_pico_usd
        assert await here.quota() == (PROMPT_TOKENS + 5, 0)


async def test_a_streamed_call_is_settled_before_the_client_sees_its_end(sqlite_store: Store) -> None:
    async with market(sqlite_store) as here:
        async with (
            httpx2.AsyncClient(headers={"authorization": f"Bearer {OTHER_KEY}"}) as http,
            http.stream("POST", f"{here.front.url}/v1/chat/completions", json=STREAM) as reply,
        ):
            seen = b""
            async for part in reply.aiter_raw():
                seen += part
                if END in seen:
                    # Read at once: nothing may come after the end marker.
                    assert (await here.usage()).completion_tokens == 4
        assert seen.endswith(END)
        assert b"usage" not in seen


async def test_the_engine_gets_the_held_max_tokens_a_low_priority_and_no_user(sqlite_store: Store) -> None:
    async with market(sqlite_store, lent=False) as here:
        body = {key: value for key, value in ASK.items() if key != "max_tokens"}
        assert (await here.post({**body, "user": "somebody", "priority": -5})).status_code == 200
        sent = (await here.hosted.wait_for(1)).json
        assert sent["max_tokens"] == 64, "the plan's default output"
        assert sent["priority"] > 0
        assert "user" not in sent
        assert len(sent["cache_salt"]) == 32


async def test_salts_differ_between_tenants_and_cards(sqlite_store: Store) -> None:
    async with market(sqlite_store) as here:
        await here.post(ASK)
        await here.post(ASK, KEY)
        salts = {
            exchange.json["cache_salt"] for engine in (here.hosted, here.lent) for exchange in engine.received
        }
        assert len(salts) == 2


async def test_an_owner_is_served_by_its_own_card_for_nothing(sqlite_store: Store) -> None:
    async with market(sqlite_store) as here:
        reply = await here.post(ASK, KEY)
        assert reply.headers["x-daalu-tier"] == "own"
        used = await here.usage()
        assert (used.tier, used.charge_pico_usd, used.credit_pico_usd) == ("own", 0, 0)
        assert await here.read(LedgerEntry) == []
        assert len(here.lent.received) == 1


async def test_a_coding_call_goes_to_the_operators_card_and_never_to_a_third_partys(
    sqlite_store: Store,
) -> None:
    async with market(sqlite_store) as here:
        for _ in range(8):
            reply = await here.post(ASK, OTHER_CODING_KEY)
            assert reply.headers["x-daalu-pool"] == "shared"
        assert len(here.hosted.received) == 8
        assert here.lent.connections == 0


async def test_a_coding_call_with_third_party_cards_alone_is_refused_without_a_connection(
    sqlite_store: Store,
) -> None:
    async with market(sqlite_store, hosted=False) as here:
        reply = await here.post(ASK, OTHER_CODING_KEY)
        assert reply.status_code == 503
        assert "operator cards" in reply.json()["error"]["message"]
        assert here.lent.connections == 0
        declared = {"authorization": f"Bearer {OTHER_KEY}", "x-daalu-purpose": "coding"}
        async with httpx2.AsyncClient(headers=declared) as http:
            again = await http.post(f"{here.front.url}/v1/chat/completions", json=ASK)
        assert again.status_code == 503
        assert here.lent.connections == 0


async def test_third_party_cards_serve_only_who_trusts_them(sqlite_store: Store) -> None:
    async with market(sqlite_store, Terms(trust=TrustPolicy.OPERATOR_CARDS), hosted=False) as here:
        reply = await here.post(ASK)
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "no_capacity")
        assert "trust policy" in reply.json()["error"]["message"]
        assert "lent" not in reply.text, "a card of another tenant is not named"
        assert here.lent.connections == 0


async def test_a_model_without_a_price_is_not_routable_and_says_so(sqlite_store: Store) -> None:
    async with market(sqlite_store, Terms(priced=False)) as here:
        reply = await here.post(ASK)
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")
        assert "no price" in reply.json()["error"]["message"]


async def test_a_tenant_without_any_right_is_told_that_it_needs_one(sqlite_store: Store) -> None:
    async with market(sqlite_store, Terms(subscribed=False)) as here:
        reply = await here.post(ASK)
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "not_entitled")
        assert reply.headers["x-daalu-fall-through"] == "next_tier"


async def test_a_model_that_the_gateway_cannot_count_is_not_served_on_third_party_cards(
    sqlite_store: Store,
) -> None:
    async with market(sqlite_store, counting=EventCounting(frozenset())) as here:
        for _ in range(4):
            assert (await here.post(ASK)).status_code == 200
        assert here.lent.connections == 0
        assert len(here.hosted.received) == 4


async def test_a_call_over_the_months_quota_is_refused_and_says_what_is_left(sqlite_store: Store) -> None:
    async with market(sqlite_store, Terms(monthly_tokens=900)) as here:
        assert (await here.post({**ASK, "max_tokens": 800})).status_code == 200
        assert (await here.post({**ASK, "max_tokens": 850})).status_code == 200, "counted exactly, it fits"
        reply = await here.post({**ASK, "max_tokens": 890})
        error = reply.json()["error"]
        assert (reply.status_code, error["code"], error["type"]) == (
            429,
            "quota_exceeded",
            "insufficient_quota",
        )
        assert f"has {900 - 2 * (PROMPT_TOKENS + 5)} left" in error["message"]
        assert reply.headers["x-daalu-fall-through"] == "external_if_allowed"
        assert await here.quota() == (2 * (PROMPT_TOKENS + 5), 0)
        assert len(here.hosted.received) + len(here.lent.received) == 2


async def test_a_call_without_max_tokens_takes_what_is_left_of_the_quota(sqlite_store: Store) -> None:
    async with market(sqlite_store, Terms(monthly_tokens=PROMPT_TOKENS + 30), lent=False) as here:
        body = {key: value for key, value in ASK.items() if key != "max_tokens"}
        assert (await here.post(body)).status_code == 200
        assert (await here.hosted.wait_for(1)).json["max_tokens"] == 30


async def test_the_limit_of_requests_refuses_with_when_to_come_back(sqlite_store: Store) -> None:
    async with market(sqlite_store, Terms(requests_per_minute=2)) as here:
        first = await here.post(ASK)
        assert first.headers["x-ratelimit-limit-requests"] == "2"
        assert first.headers["x-ratelimit-remaining-requests"] == "1"
        await here.post(ASK)
        reply = await here.post(ASK)
        assert (reply.status_code, reply.json()["error"]["code"]) == (429, "rate_limited")
        assert 1 <= int(reply.headers["retry-after"]) <= 60
        assert reply.headers["x-daalu-fall-through"] == "no"
        assert reply.headers["x-ratelimit-remaining-requests"] == "0"
        [refused] = [call for call in await here.front.calls() if call.outcome == "refused"]
        assert json.loads(refused.decision)["denials"][0]["code"] == "rate_limited"


async def test_the_limit_of_concurrent_calls_frees_its_places(sqlite_store: Store) -> None:
    go_on = asyncio.Event()

    async def waits(exchange: Exchange) -> None:
        await go_on.wait()
        await exchange.send_json(answer("Hello"))

    async with market(sqlite_store, Terms(concurrent_calls=1), scripts=(waits,), hosted=False) as here:
        first = asyncio.create_task(here.post(ASK))
        await here.lent.wait_for(1)
        refused = await here.post(ASK)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
        go_on.set()
        assert (await first).status_code == 200
        assert (await here.post(ASK)).status_code == 200


async def test_what_a_call_did_not_use_of_the_limit_of_tokens_is_given_back(sqlite_store: Store) -> None:
    async with market(sqlite_store, Terms(tokens_per_minute=1_000)) as here:
        for _ in range(5):
            assert (await here.post({**ASK, "max_tokens": 800})).status_code == 200


async def test_a_pool_call_on_a_full_card_is_refused_and_one_with_a_queue_too(sqlite_store: Store) -> None:
    full = {"engine": engine_view(running_calls=16)}
    async with market(sqlite_store, changes=full) as here:
        reply = await here.post(ASK)
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "no_capacity")
        assert "2 cards left out (no room)" in reply.json()["error"]["message"]
        own = await here.post(ASK, KEY)
        assert own.headers["x-daalu-tier"] == "own", "the owner may queue on its own card"


@pytest.mark.parametrize(
    "changes",
    [{"health": Health.CRITICAL}, {"liveness": Liveness.OUT}, {"engine": engine_view(draining=True)}],
)
async def test_a_card_that_cannot_serve_is_passed_over(sqlite_store: Store, changes: dict[str, Any]) -> None:
    async with market(sqlite_store, changes=changes) as here:
        assert (await here.post(ASK)).status_code == 503
        assert here.lent.connections + here.hosted.connections == 0


async def test_a_gate_without_room_sends_the_call_to_the_next_card_and_nothing_is_charged_twice(
    sqlite_store: Store,
) -> None:
    async def no_room(exchange: Exchange) -> None:
        error = {
            "error": {"message": "no room", "type": "server_error", "param": None, "code": "no_capacity"}
        }
        await exchange.send_json(error, 503)

    async with scripted_engine(no_room) as first, scripted_engine() as second:
        agents = operators_card(first.port, "a"), operators_card(second.port, "b")
        async with serving(sqlite_store, *agents, counting=EventCounting()) as front:
            # The busier of the two comes second.
            front.fleet.view = replace(
                front.fleet.view,
                by_id={
                    agents[0].agent_id: agents[0],
                    agents[1].agent_id: replace(agents[1], engine=engine_view(running_calls=12)),
                },
            )
            open_market(sqlite_store, agents)
            await front.economy.refresh()
            here = Market(front, first, second)
            assert (await here.post(ASK)).status_code == 200
            assert [attempt.error for attempt in await front.attempts()] == ["no_capacity", None]
            states = await here.read(AttemptTerms)
            assert sorted(row.hold_state for row in states) == ["settled", "void"]
            await here.assert_books_are_in_order()


async def test_an_engine_that_dies_mid_answer_is_paid_for_what_the_client_got(sqlite_store: Store) -> None:
    async def dies(exchange: Exchange) -> None:
        await exchange.start_stream()
        for number in range(1, 4):
            await exchange.piece(chunk("word", done=number))
        exchange.break_off()

    async with market(sqlite_store, scripts=(dies,), hosted=False) as here:
        reply = await here.post(STREAM)
        assert json.loads(reply.text.strip().split("data: ")[-1])["error"]["code"] == "stream_broken"
        used = await here.usage()
        assert (used.prompt_tokens, used.completion_tokens) == (PROMPT_TOKENS, 3)
        assert used.credit_pico_usd > 0


async def test_an_engine_that_fails_before_content_charges_and_credits_nothing(sqlite_store: Store) -> None:
    async def fails(exchange: Exchange) -> None:
        exchange.break_off()

    async with market(sqlite_store, scripts=(fails,) * 3, hosted=False) as here:
        assert (await here.post(ASK)).status_code == 502
        assert await here.read(UsageRecord) == []
        assert await here.quota() == (0, 0)


async def test_a_client_that_goes_away_pays_for_what_it_got(sqlite_store: Store) -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.start_stream()
        await exchange.piece(chunk("one", done=1))
        await exchange.piece(chunk("two", done=2))
        await exchange.hung_up.wait()

    async with market(sqlite_store, scripts=(endless,), hosted=False) as here:
        async with (
            httpx2.AsyncClient(headers={"authorization": f"Bearer {OTHER_KEY}"}) as http,
            http.stream("POST", f"{here.front.url}/v1/chat/completions", json=STREAM) as reply,
        ):
            seen = b""
            async for part in reply.aiter_raw():
                seen += part
                if b"two" in seen:
                    break
        call = await here.front.only_call()
        assert call.outcome == "client_gone"
        assert (await here.usage()).completion_tokens == 2
        assert (await here.quota())[1] == 0


async def test_an_engine_that_inflates_its_counts_earns_nothing_more(sqlite_store: Store) -> None:
    async def inflates(exchange: Exchange) -> None:
        events = [chunk("", role="assistant"), chunk("word", done=9), chunk("", done=19, finish="stop")]
        await exchange.stream([*events, last_chunk(19), END])

    async with market(sqlite_store, scripts=(inflates,), hosted=False) as here:
        await here.post(STREAM)
        used = await here.usage()
        assert (used.claimed_completion_tokens, used.counted_completion_tokens) == (19, 2)
        assert used.completion_tokens == 2


async def test_an_engine_that_omits_usage_is_metered_by_the_own_count(sqlite_store: Store) -> None:
    async def silent(exchange: Exchange) -> None:
        words = [chunk("word", usage=False), chunk("", usage=False, finish="stop")]
        await exchange.stream([*words, END])

    async with market(sqlite_store, scripts=(silent,), hosted=False) as here:
        await here.post(STREAM)
        used = await here.usage()
        assert (used.claimed_completion_tokens, used.completion_tokens) == (None, 2)


async def test_a_field_that_shared_cards_do_not_take_is_named(sqlite_store: Store) -> None:
    async with market(sqlite_store) as here:
        reply = await here.post({**ASK, "kv_transfer_params": {"do_remote_decode": True}})
        error = reply.json()["error"]
        assert (reply.status_code, error["code"]) == (400, "field_not_shared")
        assert "kv_transfer_params" in error["message"]
        assert here.lent.connections + here.hosted.connections == 0
        own = await here.post({**ASK, "kv_transfer_params": {"do_remote_decode": True}}, KEY)
        assert own.status_code == 200, "an owner's engine takes what its owner sends"


async def test_a_withdrawn_card_serves_its_running_call_and_no_other(sqlite_store: Store) -> None:
    go_on = asyncio.Event()

    async def waits(exchange: Exchange) -> None:
        await go_on.wait()
        await exchange.send_json(answer("Hello"))

    def take_back(session: Session) -> None:
        withdraw(session, agent=session.get_one(Agent, "agt-lent"), actor="test")

    async with market(sqlite_store, scripts=(waits,), hosted=False) as here:
        running = asyncio.create_task(here.post(ASK))
        await here.lent.wait_for(1)
        await here.front.store.write(take_back)
        await here.front.economy.refresh()
        assert (await here.post(ASK)).status_code in (403, 404, 503)
        go_on.set()
        assert (await running).status_code == 200
        assert (await here.usage()).credit_pico_usd > 0


async def test_credit_from_free_usage_is_not_payable(sqlite_store: Store) -> None:
    async with market(sqlite_store, Terms(billing=Billing.FREE), hosted=False) as here:
        await here.post(ASK)
        accounts = {row.account for row in await here.read(LedgerEntry)}
        assert accounts == {Account.CONSUMER, Account.PLATFORM, Account.NON_PAYABLE}


async def test_no_pool_call_is_made_while_the_store_cannot_be_written(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with market(sqlite_store, limits=Limits(record_wait_s=0.2)) as here:

        async def stuck(_unit: object) -> None:
            await asyncio.Event().wait()

        with monkeypatch.context() as broken:
            broken.setattr(sqlite_store, "write", stuck)
            broken.setattr(sqlite_store, "write_item", lambda *_: asyncio.get_running_loop().create_future())
            reply = await here.post(ASK)
            assert (reply.status_code, reply.json()["error"]["code"]) == (503, "records_unavailable")
            assert int(reply.headers["retry-after"]) >= 1
            assert here.lent.connections + here.hosted.connections == 0


async def test_an_answer_whose_settlement_cannot_be_written_has_no_end_and_is_settled_later(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(record_wait_s=0.2, catch_up_every_s=0.05)
    write_item = sqlite_store.write_item

    def stuck_at_the_end(save: Any, item: Any) -> "asyncio.Future[Any]":
        return write_item(save, item) if save is reserve_all else asyncio.get_running_loop().create_future()

    async with market(sqlite_store, hosted=False, limits=limits) as here:
        with monkeypatch.context() as broken:
            broken.setattr(sqlite_store, "write_item", stuck_at_the_end)
            reply = await here.post(STREAM)
            assert END.decode() not in reply.text
            assert "records_unavailable" in reply.text
        async with asyncio.timeout(5):
            while not await here.read(UsageRecord):  # noqa: ASYNC110 - the row is what is waited for
                await asyncio.sleep(0.02)
        assert (await here.usage()).completion_tokens == 4


async def _paid_back(here: Market, ended: Callable[[], Awaitable[bool]]) -> list[str]:
    """The kinds of the ledger's transactions, when what is owed has been written."""
    async with asyncio.timeout(5):
        while not await ended():  # noqa: ASYNC110 - rows are what is waited for
            await asyncio.sleep(0.02)
    with here.front.store.reading() as session:
        assert verify(session) == []
    consumers = [row for row in await here.read(LedgerEntry) if row.account == Account.CONSUMER]
    assert sum(row.amount_pico_usd for row in consumers) == 0
    return sorted(row.kind for row in await here.read(LedgerTransaction))


async def test_an_answer_that_was_refused_is_paid_back_where_its_settlement_came_late(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is slower than the gateway is patient: the write that was given up is made all the same."""
    answered, write_item = threading.Event(), sqlite_store.write_item

    def late(save: Any, item: Any) -> "asyncio.Future[Any]":
        def after_the_answer(session: Session, items: list[Any]) -> Any:
            answered.wait(10)
            return save(session, items)

        return write_item(save if save is reserve_all else after_the_answer, item)

    limits = Limits(record_wait_s=0.2, catch_up_every_s=0.05)
    async with market(sqlite_store, limits=limits) as here:
        monkeypatch.setattr(sqlite_store, "write_item", late)
        reply = await here.post(ASK)
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "records_unavailable")
        answered.set()

        async def reversed_() -> bool:
            return len(await here.read(LedgerTransaction)) == 2

        assert await _paid_back(here, reversed_) == [TransactionKind.REVERSAL, TransactionKind.SETTLEMENT]


async def test_an_answer_that_was_refused_costs_nothing_where_its_settlement_was_never_written(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_item = sqlite_store.write_item

    def stuck_at_the_end(save: Any, item: Any) -> "asyncio.Future[Any]":
        return write_item(save, item) if save is reserve_all else asyncio.get_running_loop().create_future()

    limits = Limits(record_wait_s=0.2, catch_up_every_s=0.05)
    async with market(sqlite_store, limits=limits) as here:
        with monkeypatch.context() as broken:
            broken.setattr(sqlite_store, "write_item", stuck_at_the_end)
            reply = await here.post(ASK)
            assert (reply.status_code, reply.json()["error"]["code"]) == (503, "records_unavailable")

        async def given_back() -> bool:
            return [row.hold_state for row in await here.read(AttemptTerms)] == [HoldState.VOID]

        assert await _paid_back(here, given_back) == []
        assert await here.read(UsageRecord) == []


async def test_the_official_client_reads_the_refusals(sqlite_store: Store) -> None:
    async with market(sqlite_store, Terms(monthly_tokens=1)) as here:
        async with openai.AsyncOpenAI(
            base_url=f"{here.front.url}/v1", api_key=OTHER_KEY, max_retries=0
        ) as ai:
            with pytest.raises(openai.RateLimitError) as refused:
                await ai.chat.completions.create(
                    model="tiny", messages=[{"role": "user", "content": "hi"}], max_tokens=20
                )
        assert refused.value.code == "quota_exceeded"


async def test_a_general_key_of_the_card_owner_may_not_undeclare_coding(sqlite_store: Store) -> None:
    async with market(sqlite_store) as here:
        headers = {"authorization": f"Bearer {OTHER_CODING_KEY}", "x-daalu-purpose": "general"}
        async with httpx2.AsyncClient(headers=headers) as http:
            for _ in range(4):
                await http.post(f"{here.front.url}/v1/chat/completions", json=ASK)
        assert here.lent.connections == 0
        assert (await here.post(ASK, CODING_KEY)).headers["x-daalu-tier"] == "own"


async def test_a_pinned_call_goes_where_it_is_pinned_and_nowhere_else(sqlite_store: Store) -> None:
    def pin(session: Session) -> None:
        new = NewPin(session.get_one(Tenant, "ten-a"), "tiny", None, Tier.POOL)
        add_pin(session, new, actor="test")
        plan = session.exec(select(Plan)).one()
        pool = session.exec(select(Pool)).one()
        owner = session.get_one(Tenant, "ten-a")
        start_subscription(session, tenant=owner, pool=pool, plan=plan, actor="test")

    async with market(sqlite_store) as here:
        await here.front.store.write(pin)
        await here.front.economy.refresh()
        reply = await here.post(ASK, KEY)
        assert reply.headers["x-daalu-tier"] == "pool", "the own card is left out"
        call = json.loads((await here.front.only_call()).decision)
        assert [left["code"] for left in call["left_out"]] == ["pinned_elsewhere"]


@pytest.mark.parametrize("model", ["tiny-random-llama", "alias-of-tiny", "auto"])
async def test_a_model_may_be_asked_for_by_any_of_its_names(sqlite_store: Store, model: str) -> None:
    async with market(sqlite_store, lent=False) as here:
        reply = await here.post({**ASK, "model": model})
        assert (reply.status_code, reply.headers["x-daalu-model"]) == (200, "tiny")
        assert (await here.hosted.wait_for(1)).json["model"] == "tiny"
        assert (await here.front.only_call()).model == model, "the record says what was asked for"


async def test_embeddings_are_charged_for_their_prompts_alone(sqlite_store: Store) -> None:
    async def embeds(exchange: Exchange) -> None:
        vector = {"object": "embedding", "index": 0, "embedding": [0.5, -0.5]}
        usage = {"prompt_tokens": 7, "total_tokens": 7, "completion_tokens": 0}
        await exchange.send_json({"object": "list", "model": "tiny", "data": [vector], "usage": usage})

    async with market(sqlite_store, lent=False, scripts=(embeds,)) as here:
        async with openai.AsyncOpenAI(
            base_url=f"{here.front.url}/v1", api_key=OTHER_KEY, max_retries=0
        ) as ai:
            found = await ai.embeddings.create(model="tiny", input="hi", encoding_format="float")
        assert found.data[0].embedding == [0.5, -0.5]
        sent = (await here.hosted.wait_for(1)).json
        assert "max_tokens" not in sent
        used = await here.usage()
        assert (used.prompt_tokens, used.completion_tokens) == (7, 0)
        assert used.charge_pico_usd == 7 * PRICE.input_micro_usd_per_mtok


async def test_a_call_that_cannot_be_counted_goes_to_operator_cards_alone(sqlite_store: Store) -> None:
    async with market(sqlite_store) as here:
        for _ in range(6):
            assert (await here.post({**ASK, "ignore_eos": True})).status_code == 200
        assert (len(here.hosted.received), here.lent.connections) == (6, 0)


async def test_a_call_that_could_use_more_than_any_hold_is_refused_by_name(sqlite_store: Store) -> None:
    async with market(sqlite_store, changes={"engine": engine_view(context_tokens=2**31)}) as here:
        reply = await here.post({**ASK, "max_tokens": 1_500_000_000})
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, "max_tokens")
