"""Parts of the gateway alone, in a process of their own: the book of calls on its store, and the plan.

    python -m benchmarks.parts DIRECTORY

Prints one JSON object.
"""

import asyncio
import json
import statistics
import sys
import time
from pathlib import Path

from control_plane.access import Principal
from control_plane.economy import Tokens
from control_plane.fleet import AgentView, FleetView
from control_plane.gateway.book import Book
from control_plane.gateway.limits import Limits
from control_plane.gateway.record import AttemptRecord, CallRecord
from control_plane.gateway.request import read_request
from control_plane.identifiers import ApiKeyId, TenantId, new_attempt_id, new_call_id
from control_plane.router import GeneralCall, OwnCard, Plan, TenantFacts, World, plan
from control_plane.store import Store, unix_ms
from control_plane.store.tables import AttemptOutcome, CallOutcome, Purpose
from tests.support.gateway import TENANT, agent_view, fill, fleet_view

AT_ONCE = 64
LEDGER_S = 3.0
ALONE_CALLS = 300
AGENTS = 10_000
AGENTS_OF_A_TENANT = 10
PLANS = 2_000
_BODY = b'{"model":"tiny","messages":[{"role":"user","content":"What is the capital of France?"}]}'


async def ledger(book: Book, agent: AgentView) -> dict[str, float]:
    """Calls a second of which each is durable twice, AT_ONCE at once; and what the two writes take alone."""
    principal = Principal(TENANT, "acme", ApiKeyId(f"key-{Purpose.GENERAL}"), Purpose.GENERAL)
    request = read_request("/v1/chat/completions", _BODY)
    the_plan = Plan((OwnCard(agent, "tiny", 0.0),), ())

    async def call() -> None:
        record = CallRecord(new_call_id(), principal, Purpose.GENERAL, request, the_plan, unix_ms())
        record.attempts.append(AttemptRecord(new_attempt_id(), 1, OwnCard(agent, "tiny", 0.0), unix_ms()))
        await book.write(record)
        record.end_attempt(AttemptOutcome.COMPLETE, unix_ms(), Tokens(37, 8), None)
        record.outcome = CallOutcome.COMPLETE
        await book.write(record)

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
    [agent] = fleet_view(agent_view("one")).by_id.values()
    fill(store, [agent])
    result = await ledger(Book(store, Limits()), agent)
    store.close()
    print(json.dumps({**result, "plan_us_10k": plan_us()}))


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1])))
