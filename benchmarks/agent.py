"""An agent of the product's own wire whose engine is the native upstream, with a tenant's key to call it.

    python -m benchmarks.agent DATA_DIRECTORY ENGINE_PORT [--card]

Prints the API key on one line and then answers the control plane, with mutual TLS, until it is killed.
`--card`: it has one, whose readings change with every sample.
"""

import asyncio
import random
import sys
from pathlib import Path

from daalu_wire.v1 import agent_pb2
from sqlmodel import Session

from control_plane.access import create_key, create_tenant
from control_plane.catalogue import Catalogue
from control_plane.config import DataDirectory, load_settings
from control_plane.economy import (
    NewPlan,
    PolicyChange,
    PriceTerms,
    change_policy,
    contribute,
    create_plan,
    create_pool,
    set_price,
    start_subscription,
)
from control_plane.economy.plans import MOST_MONTHLY_TOKENS, MOST_PER_MINUTE
from control_plane.enrolment import Authority
from control_plane.identifiers import new_agent_id
from control_plane.store import Store, announce, unix_ms
from control_plane.store.economy_tables import Billing, Overage, PoolKind
from control_plane.store.tables import Agent, ChangeKind, Connection, Deployment, Purpose, Tenant
from tests.support import fleet_agent
from tests.support.fleet import agent_row
from tests.support.fleet_agent import ScriptedAgent
from tests.support.telemetry import sample_at_work

# What the catalogue ships. An agent serves nothing that is not in it.
MODEL_ID = "smollm2-135m-instruct"
MODEL = "smollm2-135m"
# As a real agent samples; the scripted one's default is for tests that wait for samples.
SAMPLE_INTERVAL_S = 1.0
AT_ONCE = 4_096
CARD = "GPU-bench"


async def run(data: Path, engine_port: int, *, has_card: bool) -> None:
    fleet_agent.SAMPLE_INTERVAL_S = SAMPLE_INTERVAL_S
    authority = Authority.load(DataDirectory(data).authority)
    async with ScriptedAgent(new_agent_id(), "127.0.0.1", 0, authority) as agent:
        entry = Catalogue.load().get(MODEL_ID)
        assert entry is not None
        reference = agent_pb2.CatalogueReference(model_id=MODEL_ID, digest=entry.digest)
        agent.behaviour.catalogue = [reference]
        agent.behaviour.engine = agent_pb2.EngineSample(
            phase=agent_pb2.ENGINE_PHASE_READY,
            model=reference,
            served_name=MODEL,
            context_tokens=131_072,
            max_running_calls=AT_ONCE,
        )
        store = Store(load_settings(data).database_url)
        print(await store.write(lambda session: _enrol(session, agent, engine_port)), flush=True)
        store.close()
        if has_card:
            await _work(agent)
        await asyncio.Event().wait()


async def _work(agent: ScriptedAgent) -> None:
    card = agent_pb2.Card(index=0, uuid=CARD)
    card.name.value = "NVIDIA RTX 2000 Ada Generation"
    card.memory_total_bytes.value = 16 * 1024**3
    agent.behaviour.cards = [card]
    chance = random.Random(1)
    while True:
        made = sample_at_work(CARD, unix_ms(), chance)
        agent.behaviour.card_samples = list(made.cards)
        await asyncio.sleep(SAMPLE_INTERVAL_S)


def _enrol(session: Session, agent: ScriptedAgent, engine_port: int) -> str:
    """The rows that an operator's commands and an enrolment would write. Returns the key."""
    operator = create_tenant(session, name="operator", actor="bench")
    tenant = create_tenant(session, name="bench", actor="bench")
    session.flush()
    created = create_key(session, tenant=tenant, name="bench", purpose=Purpose.GENERAL, actor="bench")
    change_policy(session, tenant=operator, change=PolicyChange(is_operator=True), actor="bench")
    row = agent_row(agent, operator.id, name="bench", engine_port=engine_port, connection=Connection.DIRECT)
    session.add(row)
    session.flush()
    session.add(Deployment(agent_id=agent.agent_id, model_id=MODEL_ID, changed_unix_ms=unix_ms()))
    announce(session, ChangeKind.AGENT, agent.agent_id)
    _share(session, row, tenant)
    return created.text


def _share(session: Session, agent: Agent, consumer: Tenant) -> None:
    """The card in a hosted pool that the key's tenant pays for: calls have limits, a hold and a ledger."""
    pool = create_pool(session, name="bench", kind=PoolKind.HOSTED, default_plan=None, actor="bench")
    plan = create_plan(
        session,
        NewPlan(
            name="bench",
            monthly_tokens=MOST_MONTHLY_TOKENS,
            requests_per_minute=MOST_PER_MINUTE,
            tokens_per_minute=MOST_PER_MINUTE,
            concurrent_calls=AT_ONCE,
            default_output_tokens=64,
            overage=Overage.STOP,
            billing=Billing.INVOICED,
        ),
        actor="bench",
    )
    session.flush()
    contribute(session, agent=agent, pool=pool, actor="bench")
    price = PriceTerms(150_000, 600_000, 50_000)
    set_price(session, pool=pool, model=MODEL, price=price, starts_unix_ms=0, actor="bench")
    start_subscription(session, tenant=consumer, pool=pool, plan=plan, actor="bench")


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2]), has_card="--card" in sys.argv[3:]))
