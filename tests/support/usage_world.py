"""A control plane with a tenant of every role, after calls that really went through it; and last month's."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
from daalu_wire.v1 import agent_pb2
from sqlmodel import Session

from control_plane.access import NewKey, create_key, create_tenant, create_user, hash_password
from control_plane.config import DataDirectory, load_settings
from control_plane.economy import (
    NewPlan,
    NewTerms,
    OwnFacts,
    PolicyChange,
    PoolCard,
    PoolPlace,
    PriceTerms,
    SettleFacts,
    Tokens,
    change_policy,
    contribute,
    create_plan,
    create_pool,
    hold,
    mark_paid,
    month_bounds,
    month_of,
    read_economy,
    set_price,
    set_share,
    settle,
    settle_own,
    start_subscription,
)
from control_plane.economy.index import offers
from control_plane.enrolment import Authority
from control_plane.identifiers import AgentId, ApiKeyId, AttemptId, CallId, TenantId
from control_plane.store import Store, unix_ms
from control_plane.store.economy_tables import Billing, Overage, PoolKind, TrustPolicy
from control_plane.store.tables import Agent, Attempt, Call, Connection, Deployment, Purpose, Tenant, UserRole
from tests.support.console import PASSWORD
from tests.support.console_world import CARDS, HOSTS, ROLES, TENANTS, email_of
from tests.support.control_plane import ControlPlane, initialised, serving
from tests.support.fleet import agent_row, new_scripted_agent
from tests.support.fleet_agent import ScriptedAgent
from tests.support.gateway_engine import Exchange, answer, scripted_engine, stream_of
from tests.support.programs import eventually
from tests.support.telemetry import card_sample
from tests.support.tokenizer_files import put_tokenizer

MODEL_ID, MODEL = "smollm2-135m-instruct", "smollm2-135m"
CHAT = "/v1/chat/completions"
PRICE = PriceTerms(150_000, 600_000, 50_000)
SHARE_BASIS_POINTS = 7_000
# What was asked and answered; no page may have it, not even the tenant's own.
PROMPT, COMPLETION = "whispered-question", "whispered-answer"
_COMPLETION_TOKENS = 9
# Whoever asks so has to stop the answer.
SLOWLY = "slowly"


@dataclass(frozen=True)
class UsageWorld:
    plane: ControlPlane
    agents: dict[str, ScriptedAgent]
    tenant_ids: dict[str, str]
    keys: dict[str, NewKey]
    # Ids of calls that really ran, by role.
    calls: dict[str, list[str]]
    last_month: str

    @property
    def url(self) -> str:
        return f"https://localhost:{self.plane.tls_port}"

    def markers_of(self, role: str) -> list[str]:
        """What nobody but this tenant may see."""
        key = self.keys[role].row
        known = [TENANTS[role], self.tenant_ids[role], email_of(role), key.id, key.name, key.hint]
        known += self.calls[role]
        if role in HOSTS:
            known += [HOSTS[role], CARDS[role], self.agents[role].agent_id]
        return known


@contextmanager
def usage_world(directory: Path) -> Iterator[UsageWorld]:
    put_tokenizer(directory / "catalogue", MODEL_ID)
    plane = initialised(directory / "data", "--allow-direct", "--catalogue", str(directory / "catalogue"))
    store = Store(load_settings(plane.data).database_url)
    store.migrate()
    tenants, keys = store.write_now(_people)
    stop = threading.Event()
    try:
        with _hosts(store, Authority.load(DataDirectory(plane.data).authority), tenants, stop) as agents:
            store.write_now(lambda session: _economy(session, tenants, agents))
            last_month = month_of(month_bounds(month_of(unix_ms()))[0] - 1)
            _last_month(store, tenants, keys, agents, last_month)
            with serving(plane):
                calls = {role: _call(plane, role, keys[role].text) for role in ROLES}
                yield UsageWorld(plane, agents, tenants, keys, calls, last_month)
    finally:
        store.close()


def _people(session: Session) -> tuple[dict[str, str], dict[str, NewKey]]:
    hashed = hash_password(PASSWORD)
    tenants, keys = {}, {}
    for role, name in TENANTS.items():
        tenant = create_tenant(session, name=name, actor="test")
        # It was there in the month before.
        tenant.created_unix_ms -= 40 * 86_400_000
        session.flush()
        user = create_user(session, tenant=tenant, email=email_of(role), role=UserRole.ADMIN, actor="test")
        user.password_hash = hashed
        tenants[role] = tenant.id
        keys[role] = create_key(
            session, tenant=tenant, name=f"program-of-{role}", purpose=Purpose.GENERAL, actor="test"
        )
    session.flush()
    for key in keys.values():
        session.refresh(key.row)
        session.expunge(key.row)
    return tenants, keys


@contextmanager
def _hosts(
    store: Store, authority: Authority, tenants: dict[str, str], stop: threading.Event
) -> Iterator[dict[str, ScriptedAgent]]:
    """Agents and engines, on a loop in a thread of their own."""
    agents: dict[str, ScriptedAgent] = {}
    ready, failed = threading.Event(), list[BaseException]()

    async def live() -> None:
        async with _joined(store, authority, tenants) as joined:
            agents.update(joined)
            ready.set()
            await asyncio.to_thread(stop.wait)

    def run() -> None:
        try:
            asyncio.run(live())
        except BaseException as error:
            failed.append(error)
            raise
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="hosts", daemon=True)
    thread.start()
    try:
        assert ready.wait(30)
        assert not failed
        yield agents
    finally:
        stop.set()
        thread.join(30)


@asynccontextmanager
async def _joined(
    store: Store, authority: Authority, tenants: dict[str, str]
) -> AsyncIterator[dict[str, ScriptedAgent]]:
    async with AsyncExitStack() as stack:
        agents = {}
        for role in HOSTS:
            engine = await stack.enter_async_context(scripted_engine(otherwise=_answer))
            agent = new_scripted_agent(authority)
            _script(agent, CARDS[role])
            await stack.enter_async_context(agent)
            row = agent_row(
                agent, tenants[role], name=HOSTS[role], engine_port=engine.port, connection=Connection.DIRECT
            )
            wanted = Deployment(agent_id=agent.agent_id, model_id=MODEL_ID, changed_unix_ms=unix_ms())
            await store.write(partial(_add, rows=(row, wanted)))
            agents[role] = agent
        yield agents


async def _answer(exchange: Exchange) -> None:
    if exchange.path != CHAT:
        await exchange.send_json({})
        return
    asked = exchange.json["messages"][-1]["content"]
    if exchange.json.get("stream"):
        role, first, *others = stream_of(COMPLETION, " to ", asked)
        await exchange.start_stream()
        await exchange.piece(role)
        await exchange.piece(first)
        if asked == SLOWLY:
            await exchange.hung_up.wait()
            return
        for event in others:
            await exchange.piece(event)
        await exchange.end_stream()
        return
    await exchange.send_json(answer(f"{COMPLETION} to {asked}", _COMPLETION_TOKENS))


def _script(agent: ScriptedAgent, uuid: str) -> None:
    behaviour = agent.behaviour
    card = agent_pb2.Card(index=0, uuid=uuid, simulated=True)
    card.name.value = "NVIDIA RTX 2000 Ada Generation"
    card.memory_total_bytes.value = 16 * 1024**3
    sampled = card_sample(uuid, temperature_celsius=50, utilisation_percent=10)
    sampled.simulated = True
    behaviour.cards, behaviour.card_samples = [card], [sampled]
    behaviour.card_system.state = agent_pb2.CARD_SYSTEM_STATE_SIMULATED
    engine = behaviour.engine
    engine.phase, engine.served_name = agent_pb2.ENGINE_PHASE_READY, MODEL
    engine.context_tokens, engine.max_running_calls = 2_048, 16
    engine.model.model_id = MODEL_ID


def _economy(session: Session, tenants: dict[str, str], agents: dict[str, ScriptedAgent]) -> None:
    plan = create_plan(
        session,
        NewPlan("starter", 2_000_000, 60, 100_000, 4, 512, Overage.STOP, Billing.INVOICED),
        actor="test",
    )
    community = create_pool(
        session, name="community", kind=PoolKind.PROVIDER, default_plan=None, actor="test"
    )
    hosted = create_pool(session, name="hosted", kind=PoolKind.HOSTED, default_plan=None, actor="test")
    session.flush()
    for pool in (community, hosted):
        set_price(session, pool=pool, model=MODEL, price=PRICE, starts_unix_ms=0, actor="test")
    set_share(session, pool=community, share_basis_points=SHARE_BASIS_POINTS, starts_unix_ms=0, actor="test")
    lent = session.get_one(Agent, agents["provider"].agent_id)
    contribute(session, agent=lent, pool=community, actor="test")
    consumer = session.get_one(Tenant, tenants["consumer"])
    start_subscription(session, tenant=consumer, pool=community, plan=plan, actor="test")
    change_policy(
        session, tenant=consumer, change=PolicyChange(trust=TrustPolicy.ANY_POOL_CARD), actor="test"
    )


def _last_month(
    store: Store,
    tenants: dict[str, str],
    keys: dict[str, NewKey],
    agents: dict[str, ScriptedAgent],
    month: str,
) -> None:
    """The consumer's calls on the provider's card, for which it has paid; and the owner's on its own."""
    since, until = month_bounds(month)
    consumer, owner = TenantId(tenants["consumer"]), TenantId(tenants["owner"])
    lent, own = AgentId(agents["provider"].agent_id), AgentId(agents["owner"].agent_id)

    def in_pool(session: Session, number: int, at_unix_ms: int) -> None:
        economy = read_economy(session)
        [offer] = offers(economy, consumer, MODEL, at_unix_ms).usable
        call, attempt = CallId(f"call-00past-{number}"), AttemptId(f"att-old-{number}")
        terms = NewTerms(
            attempt, call, consumer, ApiKeyId(keys["consumer"].row.id), MODEL,
            PoolPlace(offer, PoolCard(lent, TenantId(tenants["provider"]), operator_run=False)),
            60_000, 60_000, 1, False, at_unix_ms,
        )  # fmt: skip
        tokens = Tokens(40_000 + 1_000 * number, 20_000)
        rows = _rows(
            attempt, tokens, at_unix_ms,
            id=call, tenant_id=consumer, api_key_id=terms.api_key_id, model=MODEL, tier="pool", agent_id=lent,
        )  # fmt: skip
        hold(session, terms, lambda session: _add(session, rows))
        settle(session, SettleFacts(call, attempt, tokens, tokens, at_unix_ms))

    def on_own(session: Session, number: int, model: str, at_unix_ms: int) -> None:
        call, attempt = CallId(f"call-00own-{number}"), AttemptId(f"att-own-{number}")
        key = ApiKeyId(keys["owner"].row.id)
        tokens = Tokens(90_000, 30_000)
        rows = _rows(
            attempt, tokens, at_unix_ms,
            id=call, tenant_id=owner, api_key_id=key, model=model, tier="own", agent_id=own,
        )  # fmt: skip
        _add(session, rows)
        facts = OwnFacts(call, attempt, owner, key, own, model, tokens, at_unix_ms)
        settle_own(session, facts)

    def unit(session: Session) -> None:
        for number in range(6):
            in_pool(session, number, since + (until - since) * (number + 1) // 8)
        for number, model in enumerate((MODEL, MODEL, "in-house-7b")):
            on_own(session, number, model, since + (until - since) * (number + 1) // 5)
        mark_paid(session, consumer, month, actor="test", now_unix_ms=unix_ms())

    store.write_now(unit)


def _rows(attempt: str, tokens: Tokens, at_unix_ms: int, **call: str) -> tuple[Call, Attempt]:
    """A call that one attempt served whole; `call`: fields of its row."""
    both: dict[str, Any] = {
        "tier": call["tier"],
        "agent_id": call["agent_id"],
        "outcome": "complete",
        "prompt_tokens": tokens.prompt,
        "completion_tokens": tokens.completion,
        "started_unix_ms": at_unix_ms,
    }
    row = Call(
        purpose="general", path=CHAT, streamed=True, http_status=200, first_token_ms=120.0, duration_ms=900.0,
        decision="{}", **(call | both),
    )  # fmt: skip
    return row, Attempt(id=attempt, call_id=row.id, number=1, ended_unix_ms=at_unix_ms + 900, **both)


def _add(session: Session, rows: tuple[object, ...]) -> None:
    for row in rows:
        session.add(row)
        session.flush()


def _call(plane: ControlPlane, role: str, key: str) -> list[str]:
    """Two calls as a program makes them, and one that no tier can serve; their ids."""
    headers = {"authorization": f"Bearer {key}"}
    with httpx2.Client(base_url=plane.plain_url, headers=headers, timeout=30) as client:

        def ask(model: str) -> httpx2.Response:
            messages = [{"role": "user", "content": f"{PROMPT} of {role}"}]
            return client.post(CHAT, json={"model": model, "messages": messages, "max_tokens": 32})

        found = []
        if role != "none":
            # The host is heard of, and its engine is ready.
            first = eventually(lambda: _served(ask(MODEL)), f"{role} is served", timeout_s=60)
            assert first is not None
            assert COMPLETION in first.text
            found = [first, ask(MODEL)]
        found.append(ask("no-such-model"))
        return [each.headers["x-daalu-call-id"] for each in found if "x-daalu-call-id" in each.headers]


def _served(answered: httpx2.Response) -> httpx2.Response | None:
    return answered if answered.status_code == 200 else None
