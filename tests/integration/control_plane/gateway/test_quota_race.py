"""Many clients race for what is left of a month's quota: not one call too many, and not one too few."""

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import httpx2
import pytest
from sqlmodel import col, func, select

from control_plane.economy import verify
from control_plane.gateway.request import CHAT_COMPLETIONS, read_request
from control_plane.store import Store
from control_plane.store.economy_tables import LedgerTransaction, QuotaMonth, UsageRecord
from tests.support.gateway import OTHER_KEY, engine_view, fill, serving
from tests.support.gateway_engine import PROMPT_TOKENS, Exchange, ScriptedEngine, answer, scripted_engine
from tests.support.market import Terms, open_market, operators_card

CLIENTS = 64
FITTING = 50
MAX_TOKENS = 20
BODY = b'{"model":"tiny","messages":[{"role":"user","content":"hi"}],"max_tokens":%d}' % MAX_TOKENS
# What one call holds where its prompt cannot be counted.
HOLD = read_request(CHAT_COMPLETIONS, BODY).prompt_tokens_bound + MAX_TOKENS
TERMS = Terms(monthly_tokens=FITTING * HOLD + HOLD // 2)


@dataclass
class Race:
    """All clients ask at once; no answer comes before every call has its hold or its refusal, so that what is
    held is not free again for a later one."""

    refused: int = 0
    all_decided: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0

    async def answer_when_all_are_decided(self, exchange: Exchange) -> None:
        self.waiting += 1
        self._count()
        await self.all_decided.wait()
        await exchange.send_json(answer("Hello"))

    async def ask(self, http: httpx2.AsyncClient, url: str) -> tuple[int, str | None]:
        headers = {"authorization": f"Bearer {OTHER_KEY}", "content-type": "application/json"}
        reply = await http.post(f"{url}/v1/chat/completions", content=BODY, headers=headers)
        if reply.status_code == 200:
            return 200, None
        self.refused += 1
        self._count()
        return reply.status_code, reply.json()["error"]["code"]

    def _count(self) -> None:
        if self.waiting + self.refused == CLIENTS:
            self.all_decided.set()


async def run_race(race: Race, urls: Sequence[str]) -> Counter[tuple[int, str | None]]:
    limits = httpx2.Limits(max_connections=CLIENTS)
    async with httpx2.AsyncClient(timeout=60, limits=limits) as http:
        asking = [race.ask(http, urls[number % len(urls)]) for number in range(CLIENTS)]
        return Counter(await asyncio.gather(*asking))


@asynccontextmanager
async def racing_engine(race: Race) -> AsyncIterator[ScriptedEngine]:
    async with scripted_engine(*[race.answer_when_all_are_decided] * CLIENTS) as engine:
        yield engine


def assert_fifty_were_served(store: Store) -> None:
    with store.reading() as session:
        [month] = session.exec(select(QuotaMonth))
        assert (month.used_tokens, month.held_tokens) == (FITTING * (PROMPT_TOKENS + 5), 0)
        for row in (UsageRecord.call_id, LedgerTransaction.id):
            assert session.exec(select(func.count(col(row)))).one() == FITTING
    with store.reading() as session:
        assert verify(session) == []


EXACTLY = Counter({(200, None): FITTING, (429, "quota_exceeded"): CLIENTS - FITTING})


async def test_of_64_clients_the_50_that_fit_are_served_and_14_are_refused(store: Store) -> None:
    race = Race()
    async with racing_engine(race) as engine:
        card = operators_card(engine.port, engine=engine_view(max_running_calls=1_000))
        async with serving(store, card) as front:
            open_market(store, (card,), TERMS)
            await front.economy.refresh()
            assert await run_race(race, [front.url]) == EXACTLY
        assert len(engine.received) == FITTING
    assert_fifty_were_served(store)


@contextmanager
def gateway_program(url: str, engine_port: int) -> Iterator["subprocess.Popen[str]"]:
    program = subprocess.Popen(
        [sys.executable, "-m", "tests.support.gateway_program", url, str(engine_port)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield program
        program.communicate(timeout=30)
        assert program.returncode == 0
    finally:
        program.kill()
        program.wait()


async def line_of(program: "subprocess.Popen[str]", asked: str = "") -> str:
    assert program.stdin is not None
    assert program.stdout is not None
    if asked:
        program.stdin.write(asked)
        program.stdin.flush()
    return (await asyncio.to_thread(program.stdout.readline)).strip()


@pytest.mark.timeout(180)
async def test_of_64_clients_of_two_gateways_exactly_the_50_that_fit_are_served(
    store: Store, database_url: str
) -> None:
    race = Race()
    async with racing_engine(race) as engine:
        card = operators_card(engine.port, engine=engine_view(max_running_calls=1_000))
        fill(store, [card])
        open_market(store, (card,), TERMS)
        with (
            gateway_program(database_url, engine.port) as one,
            gateway_program(database_url, engine.port) as other,
        ):
            urls = [await line_of(program) for program in (one, other)]
            await line_of(one, "look\n")
            # Each has its half of the limits per minute from here on.
            assert await line_of(other, "look\n") == await line_of(one, "look\n") == "2"
            assert await run_race(race, urls) == EXACTLY
        assert len(engine.received) == FITTING
    assert_fifty_were_served(store)
