"""The self-test of the pipeline: every stage from the card to the page, and where it says a fault is."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from daalu_wire.v1 import agent_pb2
from sqlmodel import Session, select

from control_plane.catalogue import Catalogue
from control_plane.config import DataDirectory, load_settings
from control_plane.enrolment import Authority
from control_plane.fleet import Fleet
from control_plane.fleet.diagnostics import (
    DiagnosticRuns,
    Finding,
    Kind,
    Pipeline,
    PipelineParts,
    Route,
    Verdict,
    find_run,
)
from control_plane.identifiers import AgentId
from control_plane.router import World, why_left_out
from control_plane.store import Store, announce, unix_ms
from control_plane.store.tables import ApiKey, ChangeKind, Connection, Deployment
from tests.support.control_plane import ControlPlane, free_ports, initialised, serving
from tests.support.fleet import enrol, eventually, new_fleet, new_scripted_agent, running
from tests.support.fleet_agent import ScriptedAgent
from tests.support.fleet_authority import ShortLivedAuthority
from tests.support.gateway_engine import Exchange, ScriptedEngine, answer, scripted_engine
from tests.support.telemetry import card_sample

MODEL_ID, SERVED_NAME = "smollm2-135m-instruct", "smollm2"
READY_TIMEOUT_S = 30.0
STAGES = [
    "card_read",
    "sample_sent",
    "sample_stored",
    "health_judged",
    "tunnel_path",
    "engine_probe",
    "router",
    "call",
    "usage",
    "page",
]


@dataclass(frozen=True)
class Bench:
    plane: ControlPlane
    agent: ScriptedAgent
    agent_id: AgentId
    engine: ScriptedEngine
    store: Store

    async def selftest(self) -> tuple[int, list[str], dict[str, Finding]]:
        """The command's exit code and lines, and what is on record."""
        run = await asyncio.to_thread(self.plane.daalu, "diagnostics", "selftest", self.agent_id)
        head, *lines = run.stdout.splitlines()
        with self.store.reading() as session:
            kept = find_run(session, head.rpartition(" ")[2])
        assert (kept.row.kind, kept.row.error) == (Kind.PIPELINE, None), run.stderr
        return run.returncode, lines, {finding.check: finding for finding in kept.findings}

    async def is_routed_to(self) -> None:
        """Returns as soon as it is."""
        headers = {"authorization": f"Bearer {self.plane.token}"}
        deadline = time.monotonic() + READY_TIMEOUT_S
        async with httpx2.AsyncClient(base_url=self.plane.plain_url, headers=headers) as client:
            while True:
                agent = (await client.get(f"/api/v1/agents/{self.agent_id}")).json()
                if agent["liveness"] == "live" and (agent["engine"] or {}).get("phase") == "ready":
                    return
                assert time.monotonic() < deadline, agent
                await asyncio.sleep(0.1)


async def _answers(exchange: Exchange) -> None:
    if exchange.path == "/health":
        await exchange.send_json({})
    else:
        await exchange.send_json(answer("Hello"))


def _card() -> agent_pb2.CardSample:
    return card_sample(temperature_celsius=61, power_watts=agent_pb2.Reading(unsupported=True))


def _ready() -> agent_pb2.EngineSample:
    sample = agent_pb2.EngineSample(
        phase=agent_pb2.ENGINE_PHASE_READY,
        served_name=SERVED_NAME,
        context_tokens=2048,
        max_running_calls=4,
    )
    sample.model.model_id = MODEL_ID
    return sample


def _is_wanted(fleet: Fleet, agent_id: AgentId) -> bool:
    status = fleet.status(agent_id)
    return status is not None and status.desired_model_id == MODEL_ID


def _wanted(agent_id: AgentId) -> Deployment:
    """What the engine runs is wanted of it: nobody stops it."""
    return Deployment(agent_id=agent_id, model_id=MODEL_ID, changed_unix_ms=unix_ms())


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A control plane that runs, and an agent of it whose engine answers."""
    plane = await asyncio.to_thread(initialised, tmp_path / "data", "--allow-direct")
    authority = Authority.load(DataDirectory(plane.data).authority)
    store = Store(load_settings(plane.data).database_url)
    async with scripted_engine(otherwise=_answers) as engine, new_scripted_agent(authority) as agent:
        agent.behaviour.card_system.state = agent_pb2.CARD_SYSTEM_STATE_OK
        agent.behaviour.card_samples = [_card()]
        agent.behaviour.engine = _ready()
        agent_id = await enrol(store, agent, engine_port=engine.port, connection=Connection.DIRECT)
        await store.write(lambda session: session.add(_wanted(agent_id)))
        here = Bench(plane, agent, agent_id, engine, store)
        try:
            with serving(plane):
                await here.is_routed_to()
                yield here
        finally:
            store.close()


async def test_a_pipeline_that_works_passes_every_stage_and_leaves_no_key(bench: Bench) -> None:
    code, lines, found = await bench.selftest()
    assert list(found) == STAGES
    assert {name: each.verdict for name, each in found.items()} == dict.fromkeys(STAGES, Verdict.PASS), found
    assert code == 0
    assert [line.split(":")[0] for line in lines] == [f"pass  {each.title}" for each in found.values()]
    (called,) = [each for each in bench.engine.received if each.path == "/v1/chat/completions"]
    assert called.json["model"] == SERVED_NAME
    call_id = found["call"].saw.split()[1]
    assert found["usage"].saw.startswith(f"{call_id}: ")
    assert "Hello" in found["call"].evidence[0].output
    assert "gave its 9 findings" in found["page"].saw
    with bench.store.reading() as session:
        (key,) = session.exec(select(ApiKey).where(ApiKey.name == "self-test"))
    assert (key.only_agent_id, key.revoked_unix_ms is not None) == (bench.agent_id, True)


async def test_a_fault_shows_at_its_stage_and_what_is_sound_still_passes(bench: Bench) -> None:
    async def breaks(exchange: Exchange) -> None:
        if exchange.path == "/health":
            await exchange.send_json({})
        else:
            exchange.break_off()

    bench.engine.otherwise = breaks
    code, _, found = await bench.selftest()
    assert code == 1
    bad = {name: each.verdict for name, each in found.items() if each.verdict is not Verdict.PASS}
    assert bad == {"call": Verdict.FAIL, "usage": Verdict.NOT_AVAILABLE}
    assert found["call"].advice
    bench.engine.otherwise = _answers
    drained = await asyncio.to_thread(bench.plane.daalu, "agents", "drain", bench.agent_id)
    assert drained.returncode == 0, drained.stderr
    _, _, found = await bench.selftest()
    assert (found["router"].verdict, "being drained" in found["router"].saw) == (Verdict.FAIL, True)
    assert (found["engine_probe"].verdict, found["call"].verdict) == (Verdict.PASS, Verdict.FAIL)


@contextlib.asynccontextmanager
async def _in_process(
    store: Store, authority: ShortLivedAuthority, directory: Path
) -> AsyncIterator[tuple[ScriptedAgent, AgentId, Fleet, DiagnosticRuns]]:
    """A fleet without history, gateway or listener, and an agent that is connected."""
    certificate = directory / "server.pem"
    certificate.write_text("".join(authority.root_certificates_pem))

    async def refresh() -> None:
        pass

    fleet = new_fleet(store, authority)
    (port,) = free_ports(1)
    parts = PipelineParts(
        store=store,
        fleet=fleet,
        catalogue=Catalogue.load(),
        telemetry=directory / "telemetry.db",
        route=Route(f"https://localhost:{port}", certificate, refresh),
        why_left_out=lambda agent: why_left_out(agent, World(fleet.view)),
    )
    runs = DiagnosticRuns(store, fleet, Pipeline(parts))
    async with new_scripted_agent(authority) as agent, running(fleet):
        following = asyncio.create_task(runs.run())
        agent_id = await enrol(store, agent)

        def want(session: Session) -> None:
            session.add(_wanted(agent_id))
            announce(session, ChangeKind.DEPLOYMENT, agent_id)

        await store.write(want)
        # Before its engine is ready: one that nobody wants is emptied.
        await eventually(lambda: _is_wanted(fleet, agent_id))
        yield agent, agent_id, fleet, runs
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following


async def test_what_is_broken_everywhere_is_said_at_every_stage(
    store: Store, authority: ShortLivedAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control_plane.fleet.diagnostics.pipeline.SAMPLE_LIMIT_S", 0.5)
    monkeypatch.setattr("control_plane.fleet.diagnostics.pipeline.STORED_LIMIT_S", 0.5)

    async def found(runs: DiagnosticRuns, agent_id: AgentId) -> dict[str, Finding]:
        run_id = await runs.start_selftest(agent_id, "operator")
        await eventually(lambda: _ended(store, run_id))
        with store.reading() as session:
            return {each.check: each for each in find_run(session, run_id).findings}

    async with _in_process(store, authority, tmp_path) as (agent, agent_id, fleet, runs):
        await eventually(lambda: _heard(fleet, agent_id))
        agent.behaviour.engine = _ready()
        agent.behaviour.card_system.state = agent_pb2.CARD_SYSTEM_STATE_OK
        lost = agent_pb2.CardSample(uuid="GPU-1", lost="GPU is lost")
        agent.behaviour.card_samples = [lost]
        await eventually(lambda: _serves(fleet, agent_id))
        seen = await found(runs, agent_id)
        verdicts = {name: each.verdict for name, each in seen.items()}
        assert verdicts == {
            "card_read": Verdict.FAIL,
            "sample_sent": Verdict.PASS,
            # Nothing records here.
            "sample_stored": Verdict.FAIL,
            # It is judged, and not good.
            "health_judged": Verdict.WARN,
            "tunnel_path": Verdict.PASS,
            "engine_probe": Verdict.FAIL,
            # Its own tenant's calls go there, however the card is.
            "router": Verdict.PASS,
            "call": Verdict.FAIL,
            "usage": Verdict.NOT_AVAILABLE,
            "page": Verdict.PASS,
        }
        assert "GPU is lost" in seen["card_read"].saw
        assert "card_lost" in seen["health_judged"].saw
        assert "https://localhost" in seen["call"].saw
        agent.behaviour.silent = True
        await agent.stop()
        await eventually(lambda: bool(_problem(fleet, agent_id)))
        seen = await found(runs, agent_id)
        assert seen["sample_sent"].verdict is Verdict.FAIL
        assert seen["sample_stored"].verdict is Verdict.NOT_AVAILABLE
        assert (seen["tunnel_path"].verdict, "cannot be reached" in seen["tunnel_path"].saw) == (
            Verdict.FAIL,
            True,
        )
        assert all(each.advice for each in seen.values() if each.verdict is Verdict.FAIL)


def _ended(store: Store, run_id: str) -> bool:
    with store.reading() as session:
        return find_run(session, run_id).row.ended_unix_ms is not None


def _heard(fleet: Fleet, agent_id: AgentId) -> bool:
    status = fleet.status(agent_id)
    return status is not None and status.sample is not None


def _serves(fleet: Fleet, agent_id: AgentId) -> bool:
    view = fleet.view.by_id.get(agent_id)
    return view is not None and view.engine is not None and view.engine.ready


def _problem(fleet: Fleet, agent_id: AgentId) -> str | None:
    status = fleet.status(agent_id)
    return status.problems.get("connection") if status else None
