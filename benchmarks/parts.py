"""Parts of the gateway alone, in a process of their own: the book of calls and their money, and the plan.

    python -m benchmarks.parts DIRECTORY

Prints one JSON object.
"""

import asyncio
import json
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import uvloop

from control_plane.access import Principal
from control_plane.economy import Held, NewTerms, PoolPlace, SettleFacts, Tokens, verify
from control_plane.fleet import FleetView
from control_plane.gateway.book import Book
from control_plane.gateway.limits import Limits
from control_plane.gateway.record import AttemptRecord, CallRecord
from control_plane.gateway.request import read_request
from control_plane.identifiers import ApiKeyId, TenantId, new_attempt_id, new_call_id
from control_plane.main import spare_the_collector
from control_plane.router import GeneralCall, Plan, TenantFacts, ThirdPartyCard, World, plan
from control_plane.store import Store, unix_ms
from control_plane.store.tables import AttemptOutcome, CallOutcome, Purpose
from tests.support.economy import CONSUMER, INVOICED, PROVIDERS_CARD, add_economy, offer
from tests.support.gateway import agent_view

AT_ONCE = 64
LEDGER_S = 3.0
ALONE_CALLS = 300
AGENTS = 10_000
AGENTS_OF_A_TENANT = 10
PLANS = 2_000
_BODY = b'{"model":"tiny","messages":[{"role":"user","content":"What is the capital of France?"}]}'

_USED = Tokens(37, 8)
_ENDLESS_TOKENS = 10**15


async def ledger(book: Book) -> dict[str, float]:
    """Pool calls a second of which each is held, then settled with a charge and a provider's credit,
    AT_ONCE at once; and what these two commits take alone."""
    principal = Principal(CONSUMER, "consumer", ApiKeyId("key-consumer"), Purpose.GENERAL)
    request = read_request("/v1/chat/completions", _BODY)
    place = PoolPlace(offer(replace(INVOICED, monthly_tokens=_ENDLESS_TOKENS)), PROVIDERS_CARD)
    agent = agent_view("provider", tenant_id=PROVIDERS_CARD.tenant_id)
    candidate = ThirdPartyCard(agent, "tiny", 0.0, place.offer, place.card)
    the_plan = Plan((candidate,), ())

    async def call() -> None:
        record = CallRecord(new_call_id(), principal, Purpose.GENERAL, request, the_plan, unix_ms())
        attempt = AttemptRecord(new_attempt_id(), 1, candidate, unix_ms())
        record.attempts.append(attempt)
        terms = NewTerms(
            attempt_id=attempt.id,
            call_id=record.id,
            tenant_id=CONSUMER,
            api_key_id=principal.api_key_id,
            model="tiny",
            place=place,
            prompt_tokens=_USED.prompt,
            max_tokens=64,
            choices=1,
            shrinkable=False,
            now_unix_ms=unix_ms(),
        )
        assert isinstance(await book.reserve(record, terms), Held)
        record.end_attempt(AttemptOutcome.COMPLETE, unix_ms(), _USED, None)
        record.outcome = CallOutcome.COMPLETE
        record.ending = SettleFacts(record.id, attempt.id, _USED, _USED, unix_ms())
        assert await book.settle(record)

    async def calls_until(ends: float) -> int:
        made = 0
        while time.monotonic() < ends:
            await call()
            made += 1
        return made

    began = time.monotonic()
    made = sum(await asyncio.gather(*(calls_until(began + LEDGER_S) for _ in range(AT_ONCE))))
    per_s = made / (time.monotonic() - began)
    alone = []
    for _ in range(ALONE_CALLS):
        began = time.perf_counter()
        await call()
        alone.append((time.perf_counter() - began) * 1e3)
    assert not book.unwritten_count
    return {"ledger_calls_per_s": per_s, "two_commits_ms": statistics.median(alone)}


def plan_us() -> float:
    """The plan of one call in a fleet of AGENTS, of which its tenant has AGENTS_OF_A_TENANT."""
    agents = [
        agent_view(f"a{number}", tenant_id=TenantId(f"ten-{number // AGENTS_OF_A_TENANT}"))
        for number in range(AGENTS)
    ]
    by_tenant = {
        TenantId(f"ten-{tenant}"): tuple(agents[tenant * AGENTS_OF_A_TENANT :][:AGENTS_OF_A_TENANT])
        for tenant in range(AGENTS // AGENTS_OF_A_TENANT)
    }
    view = FleetView({agent.agent_id: agent for agent in agents}, by_tenant)
    call = GeneralCall("tiny", 400, 64)
    began = time.perf_counter()
    for number in range(PLANS):
        assert plan(call, TenantFacts(TenantId(f"ten-{number % len(by_tenant)}")), World(view)).candidates
    return (time.perf_counter() - began) * 1e6 / PLANS


async def run(directory: Path) -> None:
    store = Store(f"sqlite:///{directory / 'parts.db'}")
    store.migrate()
    store.write_now(add_economy)
    spare_the_collector()
    result = await ledger(Book(store, Limits()))
    with store.reading() as session:
        assert verify(session) == []
    store.close()
    print(json.dumps({**result, "plan_us_10k": plan_us()}))


if __name__ == "__main__":
    # Loop and collector as in `daalu serve`.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(Path(sys.argv[1])))
