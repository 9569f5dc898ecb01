"""A control plane whose tenants have every role, with scripted agents of simulated cards that it hears."""

import asyncio
import math
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from daalu_wire.v1 import agent_pb2
from sqlmodel import Session, select

from control_plane.access import create_key, create_tenant, create_user, hash_password
from control_plane.catalogue import Catalogue
from control_plane.config import DataDirectory, load_settings
from control_plane.economy import (
    NewPlan,
    contribute,
    create_plan,
    create_pool,
    start_subscription,
)
from control_plane.enrolment import Authority
from control_plane.fleet.load_test import StepFigures, Sweep, list_load_tests
from control_plane.fleet.load_test.queries import add_step, begin, end
from control_plane.gateway.request import CHAT_COMPLETIONS
from control_plane.identifiers import AgentId, new_call_id, new_load_test_id
from control_plane.store import Store, announce, unix_ms
from control_plane.store.economy_tables import Billing, Overage, PoolKind
from control_plane.store.load_test_tables import LoadTest
from control_plane.store.tables import (
    Agent,
    Call,
    CallOutcome,
    ChangeKind,
    Connection,
    Deployment,
    Purpose,
    Tenant,
    User,
    UserRole,
)
from tests.support.console import PASSWORD
from tests.support.control_plane import ControlPlane, initialised, serving
from tests.support.fleet import agent_row, new_scripted_agent
from tests.support.fleet_agent import Behaviour, ScriptedAgent
from tests.support.gateway_engine import Exchange, Script, scripted_engine, well_behaved
from tests.support.telemetry import agent_facts, card_sample, record
from tests.support.telemetry import sample as telemetry_sample

T = TypeVar("T")

GIB = 1024**3
# What the catalogue ships; both hosts have it deployed.
MODEL_ID = "smollm2-135m-instruct"
SERVED_NAME = "smollm2-135m"
HISTORY_S = 3_900
HISTORY_STEP_S = 10
ROLES = ("owner", "provider", "consumer", "none")
TENANTS = {
    "owner": "Acme Robotics",
    "provider": "Lender Labs",
    "consumer": "Consul Analytics",
    "none": "Newcomer Works",
}
HOSTS = {"owner": "atelier-1", "provider": "rack-seven"}
CARDS = {"owner": "GPU-0wner-0000-1111", "provider": "GPU-pr0vider-2222-3333"}


def email_of(role: str) -> str:
    return f"ada@{role}.test"


@dataclass
class ChatEngine:
    """The fleet's probes are answered, and chats as `script` has it."""

    script: Script = well_behaved
    asked: list[Exchange] = field(default_factory=list)

    async def answer(self, exchange: Exchange) -> None:
        if exchange.path != CHAT_COMPLETIONS or not exchange.json.get("stream"):
            await exchange.send_json({})
            return
        self.asked.append(exchange)
        await self.script(exchange)


@dataclass(frozen=True)
class ConsoleWorld:
    plane: ControlPlane
    agents: dict[str, ScriptedAgent]
    # Of both cards.
    engine: "ChatEngine"
    _loop: asyncio.AbstractEventLoop

    @property
    def url(self) -> str:
        return f"https://localhost:{self.plane.tls_port}"

    def behaviour(self, role: str) -> Behaviour:
        return self.agents[role].behaviour

    def set_reading(self, role: str, **readings: float) -> None:
        """From its next sample on."""
        before = self.behaviour(role).card_samples[0]
        changed = agent_pb2.CardSample()
        changed.CopyFrom(before)
        changed.MergeFrom(card_sample(before.uuid, **readings))
        self.behaviour(role).card_samples = [changed]

    @contextmanager
    def diagnosing(
        self, role: str, results: list[agent_pb2.DiagnosticResult]
    ) -> Iterator[Callable[[], None]]:
        """What a look over its host finds; what is given lets the host go on after its first check."""
        behaviour = self.behaviour(role)
        go_on = behaviour.may_go_on = asyncio.Event()
        behaviour.diagnostics = results

        def let_go() -> None:
            self._loop.call_soon_threadsafe(go_on.set)

        try:
            yield let_go
        finally:
            let_go()

    def markers_of(self, role: str) -> list[str]:
        """What nobody but this tenant may see."""
        known = [TENANTS[role], email_of(role)]
        if role in HOSTS:
            known += [HOSTS[role], CARDS[role], self.agents[role].agent_id]
        return known


@contextmanager
def console_world(directory: Path) -> Iterator[ConsoleWorld]:
    plane = initialised(directory / "data", "--allow-direct")
    authority = Authority.load(DataDirectory(plane.data).authority)
    store = Store(load_settings(plane.data).database_url)
    store.migrate()
    tenants = store.write_now(_people)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="agents", daemon=True)
    thread.start()

    engine = ChatEngine()
    engine_context = scripted_engine(otherwise=engine.answer)
    engine_port = _on(loop, engine_context.__aenter__()).port

    async def join(role: str) -> ScriptedAgent:
        agent = new_scripted_agent(authority)
        _script(agent.behaviour, CARDS[role])
        await agent.start()
        row = agent_row(
            agent, tenants[role].id, name=HOSTS[role], engine_port=engine_port, connection=Connection.DIRECT
        )

        def unit(session: Session) -> None:
            session.merge(row)
            session.flush()
            session.add(Deployment(agent_id=agent.agent_id, model_id=MODEL_ID, changed_unix_ms=unix_ms()))
            announce(session, ChangeKind.AGENT, agent.agent_id)

        await store.write(unit)
        return agent

    agents = {role: _on(loop, join(role)) for role in HOSTS}
    store.write_now(lambda session: _economy(session, tenants, agents["provider"].agent_id))
    for role, agent in agents.items():
        _remember(DataDirectory(plane.data).telemetry, tenants[role].id, agent)
    try:
        with serving(plane):
            yield ConsoleWorld(plane, agents, engine, loop)
    finally:
        for agent in agents.values():
            _on(loop, agent.stop())
        _on(loop, engine_context.__aexit__(None, None, None))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        store.close()


def _on(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(work, loop).result(30)


def _people(session: Session) -> dict[str, Tenant]:
    hashed = hash_password(PASSWORD)
    tenants = {}
    for role, name in TENANTS.items():
        tenants[role] = create_tenant(session, name=name, actor="test")
        session.flush()
        user = create_user(
            session, tenant=tenants[role], email=email_of(role), role=UserRole.ADMIN, actor="test"
        )
        user.password_hash = hashed
    return tenants


def _economy(session: Session, tenants: dict[str, Tenant], provider_agent: str) -> None:
    plan = NewPlan(
        name="starter", monthly_tokens=2_000_000, requests_per_minute=60, tokens_per_minute=100_000,
        concurrent_calls=4, default_output_tokens=512, overage=Overage.STOP, billing=Billing.INVOICED,
    )  # fmt: skip
    made = create_plan(session, plan, actor="test")
    pool = create_pool(session, name="community", kind=PoolKind.PROVIDER, default_plan=None, actor="test")
    session.flush()
    agent = session.get(Agent, provider_agent)
    assert agent is not None
    contribute(session, agent=agent, pool=pool, actor="test")
    start_subscription(session, tenant=tenants["consumer"], pool=pool, plan=made, actor="test")
    key = create_key(
        session, tenant=tenants["consumer"], name="app", purpose=Purpose.GENERAL, actor="test"
    ).row
    session.flush()
    for number, duration_ms in enumerate((420.0, 380.0, 910.0, 505.0)):
        session.add(_call(key.tenant_id, key.id, number, CallOutcome.COMPLETE, duration_ms, None))
    session.add(_call(key.tenant_id, key.id, 9, CallOutcome.REFUSED, None, "rate_limited"))


def _call(
    tenant_id: str,
    key_id: str,
    number: int,
    outcome: CallOutcome,
    duration_ms: float | None,
    code: str | None,
) -> Call:
    return Call(
        id=new_call_id(),
        tenant_id=tenant_id,
        api_key_id=key_id,
        purpose="general",
        path="/v1/chat/completions",
        model=SERVED_NAME,
        streamed=True,
        outcome=outcome,
        tier="pool",
        prompt_tokens=0 if code else 1_200 + number,
        completion_tokens=0 if code else 310,
        started_unix_ms=unix_ms() - 1_000,
        duration_ms=duration_ms,
        error_code=code,
        decision="{}",
    )


def _remember(path: Path, tenant_id: str, agent: ScriptedAgent) -> None:
    """An hour of history: a card that works in waves, and was once too warm."""
    card, now = agent.behaviour.card_samples[0], unix_ms()
    heard = []
    for second in range(-HISTORY_S, -HISTORY_STEP_S, HISTORY_STEP_S):
        load = max(0.0, math.sin(second / 300)) ** 0.5
        sampled = agent_pb2.CardSample()
        sampled.CopyFrom(card)
        sampled.temperature_celsius.value = round(42 + 36 * load)
        sampled.utilisation_percent.value = round(96 * load)
        sampled.power_watts.value = round(12 + 55 * load)
        sampled.clock_graphics_mhz.value = round(900 + 900 * load)
        if -1_260 < second < -1_200:
            sampled.throttle.value.reasons.append(agent_pb2.THROTTLE_REASON_HARDWARE_THERMAL)
        else:
            sampled.throttle.value.SetInParent()
        heard.append((now + second * 1000, telemetry_sample(sampled, engine=agent.behaviour.engine)))
    record(path, *heard, facts=agent_facts(agent.agent_id, tenant_id))


def _script(behaviour: Behaviour, uuid: str) -> None:
    card = agent_pb2.Card(index=0, uuid=uuid, simulated=True)
    card.name.value = "NVIDIA RTX 2000 Ada Generation"
    card.memory_total_bytes.value = 16 * GIB
    card.compute_capability.value = "8.9"
    sampled = card_sample(
        uuid,
        temperature_celsius=61,
        utilisation_percent=0,
        memory_used_bytes=14 * GIB,
        memory_total_bytes=16 * GIB,
        power_watts=38,
        clock_graphics_mhz=1_620,
        clock_memory_mhz=agent_pb2.Reading(unsupported=True),
    )
    sampled.simulated = True
    behaviour.cards, behaviour.card_samples = [card], [sampled]
    behaviour.card_system.state = agent_pb2.CARD_SYSTEM_STATE_SIMULATED
    entry = Catalogue.load().get(MODEL_ID)
    assert entry is not None
    reference = agent_pb2.CatalogueReference(model_id=MODEL_ID, digest=entry.digest)
    behaviour.catalogue = [reference]
    engine = behaviour.engine
    engine.phase = agent_pb2.ENGINE_PHASE_READY
    engine.model.CopyFrom(reference)
    engine.context_tokens = 32_768
    engine.served_name, engine.running_calls, engine.max_running_calls = SERVED_NAME, 2, 16
    engine.kv_cache_percent.value = 12


def diagnostic_results() -> list[agent_pb2.DiagnosticResult]:
    """Of a host whose disk is full."""

    def result(
        check: str, title: str, verdict: agent_pb2.DiagnosticVerdict.ValueType, saw: str, advice: str = ""
    ) -> agent_pb2.DiagnosticResult:
        evidence = agent_pb2.DiagnosticEvidence(command=f"read {check}", output=saw)
        return agent_pb2.DiagnosticResult(
            check=check,
            title=title,
            verdict=verdict,
            saw=saw,
            advice=advice,
            duration_ms=7,
            evidence=[evidence],
        )

    return [
        result("driver", "Driver", agent_pb2.DIAGNOSTIC_VERDICT_PASS, "580.95 answers for 1 card"),
        result("ecc", "Memory errors", agent_pb2.DIAGNOSTIC_VERDICT_NOT_AVAILABLE, "the card is simulated"),
        result("clock", "Clock", agent_pb2.DIAGNOSTIC_VERDICT_WARN, "7 s ahead", "start a time service"),
        result("disk", "Disk", agent_pb2.DIAGNOSTIC_VERDICT_FAIL, "4 GiB of 500 GiB", "free space"),
    ]


def put_load_tests(world: ConsoleWorld, role: str) -> None:
    """Two load tests of its card on record, the newer one a tenth faster. Again: they stay."""
    store = Store(load_settings(world.plane.data).database_url)
    try:
        store.write_now(lambda session: _load_tests(session, world.agents[role].agent_id))
    finally:
        store.close()


def put_running_load_test(world: ConsoleWorld, role: str) -> None:
    """One of its card that another process seems to run, until its lease is over."""

    def unit(session: Session) -> None:
        begin(
            session,
            test_id=new_load_test_id(),
            agent_id=AgentId(world.agents[role].agent_id),
            model_id=MODEL_ID,
            sweep=Sweep((1,)),
            actor="operator",
        )

    store = Store(load_settings(world.plane.data).database_url)
    try:
        store.write_now(unit)
    finally:
        store.close()


def _load_tests(session: Session, agent_id: str) -> None:
    agent = session.get_one(Agent, agent_id)
    if list_load_tests(session, agent_id, 1):
        return
    user = session.exec(select(User.id).where(User.tenant_id == agent.tenant_id)).one()
    sweep, now = Sweep((1, 2, 4, 8)), unix_ms()
    for began, faster in ((now - 86_400_000, 1.0), (now - 600_000, 1.1)):
        test_id = new_load_test_id()
        begin(
            session,
            test_id=test_id,
            agent_id=AgentId(agent_id),
            model_id=MODEL_ID,
            sweep=sweep,
            actor=user,
        )
        for concurrency, tokens_per_s, first_ms in (
            (1, 52.0, 80.0),
            (2, 99.0, 95.0),
            (4, 171.0, 140.0),
            (8, 178.0, 520.0),
        ):
            faster_tokens = tokens_per_s * faster
            step = StepFigures(
                concurrency=concurrency, completed=4 * concurrency, failed=0, error=None, duration_s=9.0,
                requests_per_s=faster_tokens / 64, output_tokens_per_s=faster_tokens,
                ttft_p50_ms=first_ms * 0.8, ttft_p90_ms=first_ms / faster, ttft_p99_ms=first_ms * 1.3,
                itl_p50_ms=18.0, itl_p90_ms=21.0, itl_p99_ms=26.0,
            )  # fmt: skip
            add_step(session, test_id=test_id, step=step)
        session.flush()
        end(session, test_id=test_id, error=None)
        row = session.get_one(LoadTest, test_id)
        row.started_unix_ms, row.ended_unix_ms = began, began + 40_000
        session.add(row)
        session.flush()
