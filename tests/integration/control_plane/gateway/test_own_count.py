"""Calls on a provider's card through the gateway, counted with a tokenizer: what an engine claims beyond its
work earns it nothing, and shows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from sqlmodel import select

from control_plane.catalogue import ChoiceText, Counter, Tokenizers
from control_plane.catalogue.chat_template import ChatTemplate
from control_plane.economy import find_drift, judge_providers, verify
from control_plane.gateway.counting import OwnCounting
from control_plane.store import Store, unix_ms
from control_plane.store.economy_tables import UsageRecord
from tests.support.gateway import OTHER_KEY, Front, serving
from tests.support.gateway_engine import END, Exchange, Script, answer, chunk, scripted_engine
from tests.support.market import MODEL, MODEL_ID, Terms, open_market, providers_card
from tests.support.tokenizer_files import TEMPLATE, trained

TOKENIZER = trained()
COUNTER = Counter(lambda: TOKENIZER, ChatTemplate(TEMPLATE, {}))
TEXT = "once upon a time there was a small card in a large rack, and it answered whoever asked it"
ASK = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Wie geht es Ihnen heute?"}],
    "max_tokens": 400,
}
PROMPT_TOKENS = COUNTER.prompt_tokens(ASK)
ANSWER_TOKENS = COUNTER.completion_tokens([ChoiceText(TEXT, finish_reason="stop")], ASK)


@dataclass
class Lent:
    """A front with one card, a provider's."""

    front: Front

    async def ask(self, **more: Any) -> httpx2.Response:
        async with httpx2.AsyncClient(headers={"authorization": f"Bearer {OTHER_KEY}"}, timeout=20) as http:
            reply = await http.post(f"{self.front.url}/v1/chat/completions", json={**ASK, **more})
        assert reply.status_code == 200, reply.text
        return reply

    async def usage(self) -> list[UsageRecord]:
        return await self.front.store.read(lambda session: list(session.exec(select(UsageRecord))))

    async def judged(self) -> list[str]:
        found = await self.front.store.read(find_drift)
        flagged = await self.front.store.write(lambda session: judge_providers(session, unix_ms()))
        assert sorted(found) == sorted(flagged)
        return flagged


@asynccontextmanager
async def lent(store: Store, script: Script, *, calls: int) -> AsyncIterator[Lent]:
    terms = Terms(monthly_tokens=10_000_000, requests_per_minute=100_000, tokens_per_minute=1_000_000_000)
    counting = OwnCounting(Tokenizers({MODEL_ID: COUNTER}))
    async with scripted_engine(*[script] * calls) as engine:
        agent = providers_card(engine.port)
        async with serving(store, agent, counting=counting) as front:
            open_market(store, (agent,), terms)
            await front.economy.refresh()
            yield Lent(front)
            assert await store.read(verify) == []


def claiming(percent: int) -> Script:
    """A real engine's count, and `percent` of it on top."""

    async def script(exchange: Exchange) -> None:
        claimed = ANSWER_TOKENS * (100 + percent) // 100
        value = answer(TEXT, claimed)
        value["usage"]["prompt_tokens"] = PROMPT_TOKENS
        await exchange.send_json(value)

    return script


async def silent(exchange: Exchange) -> None:
    """Says nothing of what it used."""
    value = answer(TEXT)
    del value["usage"]
    await exchange.send_json(value)


async def streaming(exchange: Exchange) -> None:
    words = TEXT.split(" ")
    events = [chunk("", role="assistant")]
    events += [chunk(f" {word}" if number else word, done=number + 1) for number, word in enumerate(words)]
    events.append(chunk("", done=len(words) + 1, finish="stop"))
    await exchange.stream([*events, END])


async def test_an_inflating_provider_earns_nothing_more_and_is_flagged(sqlite_store: Store) -> None:
    async with lent(sqlite_store, claiming(20), calls=30) as here:
        for _ in range(30):
            await here.ask()
        for used in await here.usage():
            assert (used.prompt_tokens, used.completion_tokens) == (PROMPT_TOKENS, ANSWER_TOKENS)
            assert used.claimed_completion_tokens == ANSWER_TOKENS * 120 // 100
            assert used.counted_completion_tokens == ANSWER_TOKENS
        assert await here.judged() == ["agt-lent"]


async def test_an_honest_provider_is_credited_in_full_and_never_flagged(sqlite_store: Store) -> None:
    async with lent(sqlite_store, claiming(0), calls=30) as here:
        for _ in range(30):
            await here.ask()
        used = await here.usage()
        assert {each.completion_tokens for each in used} == {ANSWER_TOKENS}
        assert all(each.credit_pico_usd > 0 for each in used)
        assert await here.judged() == []


async def test_an_engine_that_omits_usage_is_metered_by_the_own_count(sqlite_store: Store) -> None:
    async with lent(sqlite_store, silent, calls=1) as here:
        await here.ask()
        [used] = await here.usage()
        assert (used.prompt_tokens, used.completion_tokens) == (PROMPT_TOKENS, ANSWER_TOKENS)
        assert (used.claimed_prompt_tokens, used.claimed_completion_tokens) == (None, None)


async def test_a_streams_text_is_counted_as_it_went_out(sqlite_store: Store) -> None:
    async with lent(sqlite_store, streaming, calls=1) as here:
        await here.ask(stream=True)
        [used] = await here.usage()
        assert used.counted_completion_tokens == ANSWER_TOKENS
        assert used.counted_prompt_tokens == PROMPT_TOKENS


async def test_what_turns_out_uncountable_is_believed_up_to_its_bound(sqlite_store: Store) -> None:
    async with lent(sqlite_store, claiming(0), calls=1) as here:
        await here.ask(messages=[{"role": "user"}])
        [used] = await here.usage()
        assert used.counted_prompt_tokens is not None
        assert used.counted_completion_tokens == ANSWER_TOKENS
        assert used.prompt_tokens == min(PROMPT_TOKENS, used.counted_prompt_tokens)
