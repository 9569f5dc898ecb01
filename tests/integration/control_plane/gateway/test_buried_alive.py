"""A process that was taken for dead while it served: its holds were reaped under its calls.

The invariant: whoever sees the end of a pool's answer has a settled record; so who has none sees no end.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import httpx2
import pytest
from sqlmodel import Session, select

from control_plane.economy import Tokens, checkpoint, reap_holds, verify
from control_plane.fleet.reaper import Reaper
from control_plane.store import Store, unix_ms
from control_plane.store.economy_tables import AttemptTerms, QuotaMonth, UsageRecord
from tests.support.crash_checks import assert_in_order
from tests.support.gateway import OTHER_KEY, Front, serving
from tests.support.gateway_engine import (
    END,
    PROMPT_TOKENS,
    Exchange,
    answer,
    chunk,
    scripted_engine,
    stream_of,
)
from tests.support.market import EventCounting, open_market, providers_card
from tests.support.plain_client import body_of


@asynccontextmanager
async def _waiting_call(
    store: Store, *, streamed: bool
) -> AsyncIterator[tuple[Front, "asyncio.Task[httpx2.Response]", asyncio.Event]]:
    """A call whose engine has begun, and goes on when it is told to."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def waits(exchange: Exchange) -> None:
        if streamed:
            await exchange.start_stream()
            await exchange.piece(chunk("Hello", done=1))
        begun.set()
        await go_on.wait()
        if not streamed:
            await exchange.send_json(answer("Hello"))
            return
        for one in stream_of("Hello", "again")[2:]:
            await exchange.piece(one)
        await exchange.end_stream()

    async with scripted_engine(waits) as engine:
        agent = providers_card(engine.port)
        async with serving(store, agent, counting=EventCounting()) as front:
            open_market(store, (agent,))
            await front.economy.refresh()
            async with httpx2.AsyncClient(
                headers={"authorization": f"Bearer {OTHER_KEY}"}, timeout=20
            ) as http:
                path, body = f"{front.url}/v1/chat/completions", body_of("hi", streamed=streamed)
                asking = asyncio.create_task(http.post(path, json=body))
                await asyncio.wait_for(begun.wait(), 5)
                yield front, asking, go_on


def _bury(session: Session) -> None:
    """What another process does that takes this one for dead."""
    later = unix_ms() + 1_000
    reap_holds(
        session,
        now_unix_ms=later,
        orphaned_before_unix_ms=later,
        give_up_before_unix_ms=later,
        limit=10,
    )


@pytest.mark.parametrize("streamed", [True, False])
async def test_an_answer_whose_hold_was_given_back_has_no_end_and_costs_nothing(
    sqlite_store: Store, streamed: bool
) -> None:
    async with _waiting_call(sqlite_store, streamed=streamed) as (front, asking, go_on):
        await front.store.write(_bury)
        go_on.set()
        reply = await asking
        assert "records_unavailable" in reply.text
        assert END not in reply.content
        assert front.gateway.unwritten_calls_count == 0, "what can never be written is not tried for ever"
        await Reaper(front.store).look(0.0)
        [call] = await front.calls()
        assert (call.outcome, call.error_code) == ("failed", "settlement_lost")
        await front.store.read(partial(assert_in_order, asked=()))
        assert await front.store.read(lambda session: session.exec(select(UsageRecord)).all()) == []


async def test_an_answer_whose_hold_was_settled_at_a_checkpoint_costs_no_more(sqlite_store: Store) -> None:
    async with _waiting_call(sqlite_store, streamed=True) as (front, asking, go_on):
        [terms] = await front.store.read(lambda session: session.exec(select(AttemptTerms)).all())
        so_far = Tokens(PROMPT_TOKENS, 1)
        await front.store.write(lambda session: checkpoint(session, terms.attempt_id, so_far))
        await front.store.write(_bury)
        go_on.set()
        assert (await asking).content.endswith(END)
        [record] = await front.store.read(lambda session: session.exec(select(UsageRecord)).all())
        assert (record.prompt_tokens, record.completion_tokens) == (PROMPT_TOKENS, 1)
        [month] = await front.store.read(lambda session: session.exec(select(QuotaMonth)).all())
        assert (month.used_tokens, month.held_tokens) == (PROMPT_TOKENS + 1, 0)
        assert await front.store.read(verify) == []
