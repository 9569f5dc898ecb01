"""Gateways over one store: who counts, who is buried, and what becomes of holds that a death left open."""

import asyncio
from collections.abc import Iterator

import httpx2
import pytest
from sqlmodel import select

from control_plane.economy import Tokens, checkpoint, verify
from control_plane.gateway import Siblings
from control_plane.gateway import siblings as siblings_module
from control_plane.gateway.siblings import HOLDS_AT_ONCE, LONGEST_CALL_S, RECEIPTS_WAIT_S
from control_plane.store import Store
from control_plane.store.economy_tables import AttemptTerms, QuotaMonth, UsageRecord
from control_plane.store.processes import GONE_AFTER_S
from control_plane.store.tables import Receipt
from tests.support.economy import NOVEMBER_MS, OPERATORS_CARD, PROVIDERS_CARD, add_economy, in_pool
from tests.support.gateway import OTHER_KEY, serving
from tests.support.market import Terms, open_market, operators_card

HOLD_TOKENS = 30
PROMPT, ANSWERED, CHECKPOINTED = 10, 15, 6


class Clock:
    def __init__(self) -> None:
        self.unix_ms = NOVEMBER_MS

    def __call__(self) -> int:
        return self.unix_ms

    def pass_s(self, seconds: float) -> None:
        self.unix_ms += int(seconds * 1000)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(siblings_module, "unix_ms", clock)
    return clock


@pytest.fixture
def books(store: Store) -> Iterator[Store]:
    """With an economy, in order when the test ends."""
    store.write_now(add_economy)
    yield store
    with store.reading() as session:
        assert verify(session) == []


async def test_gateways_that_live_count_each_other(clock: Clock, store: Store) -> None:
    one, other = Siblings(store), Siblings(store)
    assert (one.count, other.count) == (1, 1)
    await one.look()
    assert one.count == 1
    await other.look()
    await one.look()
    assert (one.count, other.count) == (2, 2)


async def test_a_gateway_that_falls_silent_is_buried_and_counts_again_when_it_is_back(
    clock: Clock, store: Store
) -> None:
    one, other = Siblings(store), Siblings(store)
    await other.look()
    clock.pass_s(GONE_AFTER_S - 1)
    await one.look()
    assert one.count == 2
    clock.pass_s(2)
    await one.look()
    assert one.count == 1
    await other.look()
    await one.look()
    assert (one.count, other.count) == (2, 2)


async def test_a_gateway_that_ends_in_good_order_counts_no_longer_at_once(store: Store) -> None:
    one, other = Siblings(store), Siblings(store)
    running = asyncio.create_task(other.run())
    async with asyncio.timeout(5):
        while one.count != 2:
            await one.look()
    running.cancel()
    await asyncio.wait([running])
    await one.look()
    assert one.count == 1


async def test_while_the_store_fails_the_last_count_stands(
    clock: Clock, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = Siblings(store), Siblings(store)
    await other.look()
    await one.look()
    store.close()
    running = asyncio.create_task(one.run())
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    assert one.count == 2


def receipt(number: int, *, card: str, completion: int = ANSWERED) -> Receipt:
    return Receipt(
        agent_id=card,
        sequence=number,
        call_id=f"call-{number}",
        attempt_id=f"att-{number}",
        served_name="tiny",
        http_status=200,
        prompt_tokens=PROMPT,
        completion_tokens=completion,
        accepted_unix_ms=1,
        first_byte_unix_ms=1,
        ended_unix_ms=1,
        outcome="complete",
    )


def has_come(store: Store, row: Receipt) -> None:
    store.write_now(lambda session: session.add(Receipt(**row.model_dump())))


def states(store: Store) -> dict[str, str]:
    with store.reading() as session:
        return {row.attempt_id: row.hold_state for row in session.exec(select(AttemptTerms))}


def completions(store: Store) -> dict[str, int]:
    with store.reading() as session:
        return {row.attempt_id: row.completion_tokens for row in session.exec(select(UsageRecord))}


def held(store: Store) -> int:
    with store.reading() as session:
        return session.exec(select(QuotaMonth.held_tokens)).one()


async def dead_gateways_holds(clock: Clock, store: Store) -> Siblings:
    """Three calls that a gateway died over, 25 s before another one starts: on an operator's card, on a
    provider's with a checkpoint, and on a provider's of which nothing is known. Returns the new gateway."""
    await Siblings(store).look()
    for number, card in ((1, OPERATORS_CARD), (2, PROVIDERS_CARD), (3, PROVIDERS_CARD)):
        store.write_now(in_pool(number, card=card, now_unix_ms=clock.unix_ms))
    store.write_now(lambda session: checkpoint(session, "att-2", Tokens(PROMPT, CHECKPOINTED)))
    clock.pass_s(GONE_AFTER_S + 5)
    return Siblings(store)


async def test_what_a_dead_gateway_left_is_settled_at_once_where_the_receipt_is_there(
    clock: Clock, books: Store
) -> None:
    successor = await dead_gateways_holds(clock, books)
    has_come(books, receipt(1, card="agt-operator"))
    has_come(books, receipt(2, card="agt-provider"))
    await successor.look()
    assert states(books) == {"att-1": "settled", "att-2": "settled", "att-3": "open"}
    # The operator's card is believed; another tenant's as far as the gateway had counted itself.
    assert completions(books) == {"att-1": ANSWERED, "att-2": CHECKPOINTED}
    assert held(books) == HOLD_TOKENS


async def test_what_has_no_receipt_waits_for_it_and_is_then_settled_by_what_is_known(
    clock: Clock, books: Store
) -> None:
    successor = await dead_gateways_holds(clock, books)
    await successor.look()
    clock.pass_s(RECEIPTS_WAIT_S - 1)
    await successor.look()
    assert set(states(books).values()) == {"open"}
    has_come(books, receipt(1, card="agt-operator"))
    await successor.look()
    assert states(books) == {"att-1": "settled", "att-2": "open", "att-3": "open"}
    clock.pass_s(2)
    await successor.look()
    assert states(books) == {"att-1": "settled", "att-2": "settled", "att-3": "void"}
    assert completions(books)["att-2"] == CHECKPOINTED
    assert held(books) == 0


async def test_a_receipt_of_another_card_settles_nothing(clock: Clock, books: Store) -> None:
    successor = await dead_gateways_holds(clock, books)
    has_come(books, receipt(1, card="agt-second", completion=20))
    await successor.look()
    assert set(states(books).values()) == {"open"}


async def test_the_calls_of_a_gateway_that_lives_are_left_alone(clock: Clock, books: Store) -> None:
    older = Siblings(books)
    await older.look()
    clock.pass_s(1)
    books.write_now(in_pool(1, card=OPERATORS_CARD, now_unix_ms=clock.unix_ms))
    has_come(books, receipt(1, card="agt-operator"))
    younger = Siblings(books)
    for _ in range(30):
        clock.pass_s(GONE_AFTER_S / 2)
        await older.look()
        await younger.look()
    assert states(books) == {"att-1": "open"}
    assert older.orphaned_before_unix_ms == younger.orphaned_before_unix_ms == NOVEMBER_MS


async def test_what_is_older_than_any_call_is_an_orphan_even_where_its_gateway_may_live(
    clock: Clock, books: Store
) -> None:
    """The younger of two dies: what it left cannot be told from the older one's calls until then."""
    older = Siblings(books)
    await older.look()
    clock.pass_s(1)
    await Siblings(books).look()
    books.write_now(in_pool(1, card=PROVIDERS_CARD, now_unix_ms=clock.unix_ms))
    clock.pass_s(LONGEST_CALL_S)
    await older.look()
    assert states(books) == {"att-1": "open"}
    clock.pass_s(1)
    await older.look()
    assert states(books) == {"att-1": "void"}
    assert held(books) == 0


async def test_reaping_twice_changes_nothing_and_two_reapers_settle_once(clock: Clock, books: Store) -> None:
    one = await dead_gateways_holds(clock, books)
    other = Siblings(books)
    has_come(books, receipt(1, card="agt-operator"))
    await asyncio.gather(one.look(), other.look(), one.look())
    assert completions(books) == {"att-1": ANSWERED}


async def test_very_many_orphans_are_resolved_a_part_at_a_time(
    clock: Clock, books: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert HOLDS_AT_ONCE >= 100
    monkeypatch.setattr(siblings_module, "HOLDS_AT_ONCE", 2)
    successor = await dead_gateways_holds(clock, books)
    clock.pass_s(RECEIPTS_WAIT_S + 1)
    for left in (1, 0):
        await successor.look()
        assert list(states(books).values()).count("open") == left


async def test_limits_per_minute_are_divided_by_the_gateways_that_live(sqlite_store: Store) -> None:
    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {OTHER_KEY}"}) as http:
        siblings = Siblings(sqlite_store)
        card = operators_card(1)
        # Nothing listens at the card: each call is counted, fails, and falls to no other.
        async with serving(sqlite_store, card, processes=lambda: siblings.count) as front:
            open_market(sqlite_store, (card,), Terms(requests_per_minute=4))
            await front.economy.refresh()
            await Siblings(sqlite_store).look()
            await siblings.look()
            assert siblings.count == 2

            async def ask() -> httpx2.Response:
                body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
                return await http.post(f"{front.url}/v1/chat/completions", json=body)

            replies = [await ask() for _ in range(3)]
            assert [reply.status_code for reply in replies] == [502, 502, 429]
            assert replies[0].headers["x-ratelimit-limit-requests"] == "2"
