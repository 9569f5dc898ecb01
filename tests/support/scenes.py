"""One tenant's call in a given world: its own card, an operator's in one pool, another tenant's in a second
pool, a vendor; and what became of it, in the answer and in the books."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
import orjson
from sqlmodel import Session, col, select

from control_plane.economy import (
    NewPin,
    NewPlan,
    PolicyChange,
    Role,
    add_pin,
    change_policy,
    contribute,
    create_plan,
    create_pool,
    set_price,
    set_share,
    start_subscription,
    withdraw,
)
from control_plane.fleet import AgentView, Health, Liveness
from control_plane.gateway.request import CHAT_COMPLETIONS, COMPLETIONS, EMBEDDINGS
from control_plane.router.breakers import FAILURES_TO_OPEN
from control_plane.store import Store
from control_plane.store.economy_tables import (
    Account,
    Billing,
    ExternalMonth,
    LedgerEntry,
    LedgerTransaction,
    Overage,
    Pool,
    PoolKind,
    QuotaMonth,
    TrustPolicy,
    UsageRecord,
)
from control_plane.store.tables import Agent, Call, Tenant, Tier
from tests.support.gateway import (
    CODING_KEY,
    KEY,
    OTHER_TENANT,
    TENANT,
    Front,
    agent_view,
    engine_view,
    fleet_view,
    serving,
)
from tests.support.gateway_engine import PROMPT_TOKENS, Exchange, ScriptedEngine, scripted_engine
from tests.support.market import MODEL, OPERATOR, PRICE, SHARE_BASIS_POINTS, EventCounting
from tests.support.vendor import MODEL as VENDORS_MODEL
from tests.support.vendor import configured, fake_vendor

CALLER = TENANT
LENDER = OTHER_TENANT
# What a well-behaved engine says of every answer that is not a stream.
COMPLETION_TOKENS = 5
USED_TOKENS = PROMPT_TOKENS + COMPLETION_TOKENS


class State(StrEnum):
    """Of a card."""

    READY = "ready"
    # A pool call finds no room; an owner's call its longest queue.
    FULL = "full"
    DRAINING = "draining"
    NOT_READY = "not ready"
    OUT = "out"
    SUSPECT = "suspect"
    CRITICAL = "critical"
    BREAKER_OPEN = "breaker open"
    OTHER_MODEL = "other model"
    # Was in the pool, and was taken back.
    WITHDRAWN = "withdrawn"
    # Dies over every request, before an answer.
    DIES = "dies"
    # Its gate lets nothing in, whatever the last sample said.
    GATE_FULL = "gate full"


class Quota(StrEnum):
    FRESH = "fresh"
    # 40 tokens are left: enough for a call that is counted exactly.
    NEARLY_SPENT = "nearly spent"
    # 10 are left: not enough for the prompt.
    SPENT = "spent"


_PROMPTS: dict[str, dict[str, Any]] = {
    CHAT_COMPLETIONS: {"messages": [{"role": "user", "content": "hi"}]},
    COMPLETIONS: {"prompt": "hi"},
    EMBEDDINGS: {"input": "hi"},
}

_LEFT = {Quota.NEARLY_SPENT: 40, Quota.SPENT: 10}

# More requests than any test makes.
_ALWAYS = 1_000

_CHANGES: dict[State, dict[str, Any]] = {
    State.FULL: {"engine": engine_view(running_calls=16, waiting_calls=32)},
    State.DRAINING: {"engine": engine_view(draining=True)},
    State.NOT_READY: {"engine": engine_view(ready=False)},
    State.OUT: {"liveness": Liveness.OUT},
    State.SUSPECT: {"liveness": Liveness.SUSPECT},
    State.CRITICAL: {"health": Health.CRITICAL},
    State.OTHER_MODEL: {"engine": engine_view(model_id="other-model", served_name="other")},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A world and a call. None: there is no such card."""

    own: State | None = None
    # The caller's own card is in the pool "shared".
    lends: bool = False
    # The operator's card, in the pool "hosted".
    hosted: State | None = State.READY
    # Another tenant's card, in the pool "shared".
    lent: State | None = State.READY
    # Pools that the caller is subscribed to.
    subscribed: tuple[str, ...] = ()
    # Whether the hosted pool serves tenants without a subscription.
    default_plan: bool = False
    quota: Quota = Quota.FRESH
    requests_per_minute: int = 1_000
    billing: Billing = Billing.INVOICED
    trusting: bool = True
    priced: bool = True
    counted: bool = True
    # The vendor: None: there is none.
    vendor: State | None = None
    overage: Overage = Overage.STOP
    # None: vendors are not allowed.
    cap_micro_usd: int | None = None
    coding_key: bool = False
    declared: str | None = None
    path: str = CHAT_COMPLETIONS
    streamed: bool = False
    model: str = MODEL
    max_tokens: int | None = 20
    # Where alone an administrator lets these calls go: a tier, or one card of it.
    pinned: Tier | None = None
    pinned_card: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of the call."""

    role: Role
    status: int
    code: str | None
    tier: str | None
    # Engines that were sent the call, by the names of their cards.
    reached: frozenset[str]
    charge_pico_usd: int
    credit_pico_usd: int
    # Of the credit, where there is one: account and tenant.
    account: tuple[str, str] | None
    # Codes of everything that was left out, denied, or failed.
    reasons: frozenset[str]
    # Tokens and money that are still held, over all months: nothing may be.
    still_held: int


async def play(store: Store, given: Given) -> Seen:
    async with world(store, given) as (front, engines):
        before = {name: len(engine.received) for name, engine in engines.items()}
        reply = await ask(front, given)
        reached = {name for name, engine in engines.items() if len(engine.received) > before[name]}
        role = front.economy.tenant(CALLER).role
        return await front.store.read(lambda session: _seen(session, role, reply, frozenset(reached)))


async def ask(front: Front, given: Given) -> httpx2.Response:
    headers = {"authorization": f"Bearer {CODING_KEY if given.coding_key else KEY}"}
    if given.declared is not None:
        headers["x-daalu-purpose"] = given.declared
    body: dict[str, Any] = {"model": given.model, **_PROMPTS[given.path]}
    if given.max_tokens is not None and given.path != EMBEDDINGS:
        body["max_tokens"] = given.max_tokens
    if given.streamed:
        body["stream"] = True
    async with httpx2.AsyncClient(headers=headers, timeout=20) as http:
        return await http.post(front.url + given.path, json=body | given.fields)


def _seen(session: Session, role: Role, reply: httpx2.Response, reached: frozenset[str]) -> Seen:
    call = session.get_one(Call, reply.headers["x-daalu-call-id"])
    used = session.get(UsageRecord, call.id)
    decision = orjson.loads(call.decision)
    codes = [left["code"] for left in (*decision["left_out"], *decision.get("denials", ()))]
    codes += [attempt["error"] for attempt in decision["attempts"] if attempt["error"]]
    earned = session.exec(
        select(LedgerEntry)
        .join(LedgerTransaction, col(LedgerTransaction.id) == col(LedgerEntry.transaction_id))
        .where(
            LedgerTransaction.call_id == call.id,
            col(LedgerEntry.account).not_in([Account.CONSUMER, Account.PLATFORM]),
        )
    ).all()
    assert len(earned) <= 1
    assert sum(entry.amount_pico_usd for entry in earned) == (used.credit_pico_usd if used else 0)
    assert (call.http_status, call.error_code) == (reply.status_code, _code(reply))
    held = sum(session.exec(select(QuotaMonth.held_tokens)).all())
    held += sum(session.exec(select(ExternalMonth.held_pico_usd)).all())
    return Seen(
        role=role,
        status=reply.status_code,
        code=_code(reply),
        tier=used.tier if used is not None else None,
        reached=reached,
        charge_pico_usd=used.charge_pico_usd if used is not None else 0,
        credit_pico_usd=used.credit_pico_usd if used is not None else 0,
        account=(earned[0].account, earned[0].tenant_id or "") if earned else None,
        reasons=frozenset(codes),
        still_held=held,
    )


def _code(reply: httpx2.Response) -> str | None:
    return None if reply.status_code == 200 else reply.json()["error"]["code"]


@asynccontextmanager
async def world(store: Store, given: Given) -> AsyncIterator[tuple[Front, dict[str, ScriptedEngine]]]:
    states = {"own": given.own, "hosted": given.hosted, "lent": given.lent}
    tenants = {"own": CALLER, "hosted": OPERATOR, "lent": LENDER}
    async with AsyncExitStack() as stack:
        engines = {name: await stack.enter_async_context(scripted_engine()) for name in states}
        vendors = None
        if given.vendor is not None:
            engines["vendor"] = await stack.enter_async_context(fake_vendor(tls=None))
            directory = Path(stack.enter_context(TemporaryDirectory(prefix="daalu-vendor-")))
            url = f"http://127.0.0.1:{engines['vendor'].port}/v1"
            vendors = configured(directory, url, None, **{MODEL: VENDORS_MODEL})
        agents = {
            name: agent_view(name, engines[name].port, tenant_id=tenants[name])
            for name, state in states.items()
            if state is not None
        }
        counting = EventCounting() if given.counted else EventCounting(frozenset())
        front = await stack.enter_async_context(
            serving(store, *agents.values(), counting=counting, vendors=vendors)
        )
        store.write_now(lambda session: _open(session, given, frozenset(agents)))
        await front.economy.refresh()
        if given.quota is not Quota.FRESH:
            await _spend(front, agents)
        _set_states(front, agents, states)
        await _withdraw(front, states)
        for name, state in (*states.items(), ("vendor", given.vendor)):
            if state is State.DIES:
                engines[name].scripts = [_dies] * _ALWAYS
            if state is State.GATE_FULL:
                engines[name].scripts = [_gate_full] * _ALWAYS
        yield front, engines


def _open(session: Session, given: Given, agents: frozenset[str]) -> None:
    if (operator := session.get(Tenant, OPERATOR)) is not None:
        change_policy(session, tenant=operator, change=PolicyChange(is_operator=True), actor="test")
        session.flush()
    tokens = 100_000 if given.quota is Quota.FRESH else USED_TOKENS + _LEFT[given.quota]
    terms = NewPlan(
        "team", tokens, given.requests_per_minute, 10_000_000, 100, 64, given.overage, given.billing
    )
    plan = create_plan(session, terms, actor="test")
    session.flush()
    default = plan.name if given.default_plan else None
    pools = {
        "hosted": create_pool(session, name="hosted", kind=PoolKind.HOSTED, default_plan=default, actor="t"),
        "shared": create_pool(session, name="shared", kind=PoolKind.PROVIDER, default_plan=None, actor="t"),
    }
    session.flush()
    places = {"hosted": "hosted", "lent": "shared"} | ({"own": "shared"} if given.lends else {})
    for name in agents & places.keys():
        agent = session.get_one(Agent, f"agt-{name}")
        contribute(session, agent=agent, pool=pools[places[name]], actor="test")
    for pool in pools.values():
        _price(session, pool, given)
    caller = session.get_one(Tenant, CALLER)
    for name in given.subscribed:
        start_subscription(session, tenant=caller, pool=pools[name], plan=plan, actor="test")
    if given.pinned is not None:
        card = session.get_one(Agent, f"agt-{given.pinned_card}") if given.pinned_card is not None else None
        add_pin(session, NewPin(caller, MODEL, None, given.pinned, agent=card), actor="test")
    change = PolicyChange(
        trust=TrustPolicy.ANY_POOL_CARD if given.trusting else TrustPolicy.OPERATOR_CARDS,
        external_allowed=given.cap_micro_usd is not None,
        external_cap_micro_usd=given.cap_micro_usd or 0,
    )
    change_policy(session, tenant=caller, change=change, actor="test")


def _price(session: Session, pool: Pool, given: Given) -> None:
    if given.priced:
        set_price(session, pool=pool, model=MODEL, price=PRICE, starts_unix_ms=0, actor="test")
    set_share(session, pool=pool, share_basis_points=SHARE_BASIS_POINTS, starts_unix_ms=0, actor="test")


async def _spend(front: Front, agents: dict[str, AgentView]) -> None:
    """Uses up all of the month's quota but what is to be left, by a call that the first pool serves."""
    front.fleet.view = fleet_view(*(agent for name, agent in agents.items() if name != "own"))
    reply = await ask(front, Given(max_tokens=COMPLETION_TOKENS))
    assert (reply.status_code, reply.headers["x-daalu-tier"]) == (200, "pool"), reply.text


def _set_states(front: Front, agents: dict[str, AgentView], states: dict[str, State | None]) -> None:
    changed = []
    for name, agent in agents.items():
        state = states[name]
        assert state is not None
        changed.append(replace(agent, **_CHANGES.get(state, {})))
        if state is State.BREAKER_OPEN:
            for _ in range(FAILURES_TO_OPEN):
                front.gateway._parts.breakers.failed(agent.agent_id, time.monotonic())
    front.fleet.view = fleet_view(*changed)


async def _withdraw(front: Front, states: dict[str, State | None]) -> None:
    for name, state in states.items():
        if state is State.WITHDRAWN:
            front.store.write_now(
                lambda session, name=name: withdraw(  # type: ignore[misc]
                    session, agent=session.get_one(Agent, f"agt-{name}"), actor="test"
                )
            )
    await front.economy.refresh()


async def _dies(exchange: Exchange) -> None:
    exchange.break_off()


async def _gate_full(exchange: Exchange) -> None:
    error = {"message": "no room", "type": "server_error", "param": None, "code": "no_capacity"}
    await exchange.send_json({"error": error}, 503)
