"""Many holds, or many ends, at once: the same as one after the other, and whole or not at all."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlmodel import select

from control_plane.economy import (
    Ending,
    Held,
    QuotaExceeded,
    SettleFacts,
    Tokens,
    Voided,
    reap_holds,
    settle_all,
    verify,
)
from control_plane.identifiers import AttemptId, CallId
from control_plane.store import Store
from control_plane.store.economy_tables import QuotaMonth, UsageRecord
from tests.support import postgresql
from tests.support.economy import (
    CONSUMER,
    CONSUMERS_AGENT,
    DECEMBER_MS,
    FREE,
    NOVEMBER_MS,
    OPERATORS_CARD,
    PROVIDERS_CARD,
    SECOND_CARD,
    Dispatch,
    add_economy,
    at_vendor,
    dispatch_all,
    in_pool,
)

USED = Tokens(8, 12)
SETTLED_BEFORE_THE_KILL = 300

# Settles calls, 32 at once, and says of which that is durable; until it is killed.
_SERVER = """
import asyncio, sys
from control_plane.economy import SettleFacts, Tokens, settle_all
from control_plane.store import Store
from dataclasses import replace
from tests.support.economy import INVOICED, dispatch_all, in_pool
plan = replace(INVOICED, monthly_tokens=10**9)
store = Store(sys.argv[1])
async def serve(first):
    for number in range(first, 10**9, 32):
        call = in_pool(number, plan=plan)
        await store.write_item(dispatch_all, call)
        facts = SettleFacts(call.call_id, call.attempt_id, Tokens(8, 12), Tokens(8, 12), call.now_unix_ms)
        await store.write_item(settle_all, facts)
        print(call.call_id, flush=True)
async def main():
    await asyncio.gather(*(serve(first) for first in range(32)))
asyncio.run(main())
"""


@pytest.fixture
def second(request: pytest.FixtureRequest, economy: Store, tmp_path: Path) -> Iterator[Store]:
    """Another economy, in the same kind of database."""
    if economy.is_sqlite:
        url = f"sqlite:///{tmp_path / 'second.db'}"
    else:
        server: postgresql.Server = request.getfixturevalue("postgresql_server")
        url = server.create_database()
    store = Store(url)
    store.migrate()
    store.write_now(add_economy)
    yield store
    store.close()


async def _together(store: Store, writes: Callable[[], Sequence[Awaitable[Any]]]) -> list[Any]:
    """What comes of writes that are one group: they are submitted while the writer is held up."""
    loop, entered = asyncio.get_running_loop(), asyncio.Event()
    release = asyncio.Event()

    def wait(_session: object) -> None:
        loop.call_soon_threadsafe(entered.set)
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result(30)

    holding = asyncio.ensure_future(store.write(wait))
    await entered.wait()
    waiting = list(writes())
    release.set()
    await holding
    return await asyncio.gather(*waiting, return_exceptions=True)


async def _one_by_one(
    store: Store, write: Callable[[Store, Any], Awaitable[Any]], items: Sequence[Any]
) -> list[Any]:
    return [(await asyncio.gather(write(store, item), return_exceptions=True))[0] for item in items]


def _seen(outcome: Any) -> Any:
    """An error by its type: its words name statements, which differ."""
    return type(outcome) if isinstance(outcome, Exception) else outcome


_ENTRIES = (
    "SELECT t.call_id, t.kind, t.consumer_tenant_id, t.month, e.line, e.account, e.tenant_id, e.agent_id,"
    " e.amount_pico_usd FROM ledger_transaction t JOIN ledger_entry e ON e.transaction_id = t.id"
    " ORDER BY t.call_id, t.kind, e.line"
)


def _books(store: Store) -> list[Any]:
    """Everything but the ids of transactions."""
    with store.reading() as session:
        assert verify(session) == []
        return [
            [tuple(row) for row in session.execute(text(query))]
            for query in (
                "SELECT * FROM quota_month ORDER BY month",
                "SELECT * FROM external_month ORDER BY month",
                "SELECT * FROM attempt_terms ORDER BY attempt_id",
                "SELECT * FROM usage_record ORDER BY call_id",
                "SELECT id, outcome FROM attempt ORDER BY id",
                _ENTRIES,
            )
        ]


def _hold(store: Store, dispatch: Dispatch) -> Awaitable[Any]:
    return store.write_item(dispatch_all, dispatch)


def _end(store: Store, ending: Ending) -> Awaitable[Any]:
    return store.write_item(settle_all, ending)


async def test_a_batch_comes_to_the_same_as_its_items_one_by_one(economy: Store, second: Store) -> None:
    own = PROVIDERS_CARD.__class__(CONSUMERS_AGENT, CONSUMER, operator_run=False)
    holds = [
        in_pool(1, max_tokens=290),
        in_pool(2, max_tokens=2_000),  # more than there is
        in_pool(3, plan=FREE, card=OPERATORS_CARD, max_tokens=290),
        in_pool(1, max_tokens=290),  # the same attempt again
        at_vendor(4, cap_micro_usd=20),
        in_pool(5, card=own),  # no pool card
        at_vendor(6, cap_micro_usd=20),  # beyond the cap
        in_pool(7, card=SECOND_CARD, max_tokens=100),
        in_pool(8, max_tokens=400, shrinkable=True),  # what is left
        in_pool(9, max_tokens=1, shrinkable=True),  # nothing is
        in_pool(10, max_tokens=500, now_unix_ms=DECEMBER_MS),
        in_pool(11, of_call=7, prompt_tokens=0, max_tokens=0),
    ]
    together = await _together(economy, lambda: [_hold(economy, each) for each in holds])
    alone = await _one_by_one(second, _hold, holds)
    assert [_seen(each) for each in together] == [_seen(each) for each in alone]
    assert [_seen(each) for each in alone] == [
        Held(290, 300), QuotaExceeded(700), Held(290, 300), IntegrityError, Held(20, 30), ValueError,
        QuotaExceeded(6_499_980), Held(100, 110), Held(280, 290), QuotaExceeded(0), Held(500, 510),
        Held(0, 0),
    ]  # fmt: skip
    assert _books(economy) == _books(second)

    def facts(
        number: int, claimed: Tokens | None, counted: Tokens | None, call: int | None = None
    ) -> SettleFacts:
        call_id = CallId(f"call-{number if call is None else call}")
        return SettleFacts(call_id, AttemptId(f"att-{number}"), claimed, counted, NOVEMBER_MS + 5)

    endings: list[Ending] = [
        facts(1, USED, USED),
        facts(1, Tokens(1, 1), Tokens(1, 1)),  # again, with other numbers
        Voided(AttemptId("att-3")),
        facts(3, USED, None),  # nothing is held any more
        facts(10, USED, None),  # a third party's word alone
        facts(7, USED, USED),
        facts(11, USED, USED, call=7),  # another attempt of a settled call
        Voided(AttemptId("att-11")),
        facts(8, USED, USED, call=1),  # the attempt of another call
        Voided(AttemptId("att-none")),
        facts(4, Tokens(900, 900), None),
        facts(12, USED, USED),  # never made
    ]
    together = await _together(economy, lambda: [_end(economy, each) for each in endings])
    alone = await _one_by_one(second, _end, endings)
    assert [_seen(each) for each in together] == [_seen(each) for each in alone]
    assert [None if each is None else getattr(each, "first", type(each)) for each in alone] == [
        True, False, True, None, ValueError, True, False, True, False, False, True, None,
    ]  # fmt: skip
    assert _books(economy) == _books(second)


@pytest.mark.parametrize("size", [2, 63, 64, 65, 200])
def test_batches_of_any_size_hold_exactly_what_fits(economy: Store, size: int) -> None:
    group = [in_pool(number, prompt_tokens=3, max_tokens=10) for number in range(size)]
    results = economy.write_now(lambda session: dispatch_all(session, group))
    # 76 times 13 is 988, and 12 are left.
    fitting = min(size, 76)
    assert results == [Held(10, 13)] * fitting + [QuotaExceeded(12)] * (size - fitting)
    endings = [
        SettleFacts(each.call_id, each.attempt_id, USED, Tokens(2, 5), NOVEMBER_MS)
        for each in group[:fitting]
    ]
    settled = economy.write_now(lambda session: settle_all(session, endings))
    assert [each.tokens for each in settled if each is not None and each.first] == [Tokens(2, 5)] * fitting
    again = economy.write_now(lambda session: settle_all(session, endings))
    assert [each.tokens for each in again if each is not None and not each.first] == [Tokens(2, 5)] * fitting
    with economy.reading() as session:
        row = session.exec(select(QuotaMonth)).one()
        assert (row.used_tokens, row.held_tokens) == (7 * fitting, 0)


def test_of_two_plans_in_a_batch_each_call_is_held_by_its_own(economy: Store) -> None:
    small = FREE.__class__(**{name: getattr(FREE, name) for name in FREE.__slots__} | {"monthly_tokens": 100})
    group = [
        in_pool(1, max_tokens=490), in_pool(2, plan=small, max_tokens=10), in_pool(3, max_tokens=490),
        in_pool(4, max_tokens=10),
    ]  # fmt: skip
    results = economy.write_now(lambda session: dispatch_all(session, group))
    assert results == [Held(490, 500), QuotaExceeded(0), Held(490, 500), QuotaExceeded(0)]


def test_whoever_was_told_of_a_settlement_finds_it_after_a_kill(economy: Store, database_url: str) -> None:
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER, database_url], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    try:
        told = [server.stdout.readline().strip() for _ in range(SETTLED_BEFORE_THE_KILL)]
        server.send_signal(signal.SIGKILL)
        told += server.stdout.read().split("\n")[:-1]
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
    with economy.reading() as session:
        assert verify(session) == []
        recorded = set(session.exec(select(UsageRecord.call_id)))
    assert len(told) >= SETTLED_BEFORE_THE_KILL
    assert set(told) <= recorded
    economy.write_now(
        lambda session: reap_holds(
            session,
            now_unix_ms=DECEMBER_MS,
            orphaned_before_unix_ms=DECEMBER_MS,
            give_up_before_unix_ms=DECEMBER_MS,
            limit=1_000,
        )
    )
    with economy.reading() as session:
        assert session.exec(select(QuotaMonth.held_tokens)).one() == 0
