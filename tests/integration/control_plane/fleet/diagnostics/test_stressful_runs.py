"""Runs that stress a card: taken from its calls and its engine first, and given back whatever happens."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
from daalu_wire.v1 import agent_pb2
from sqlmodel import Session, select

from control_plane.access import Duplicate, Invalid
from control_plane.catalogue import Catalogue
from control_plane.fleet import Fleet
from control_plane.fleet.diagnostics import DiagnosticRuns, Kind, Run, find_run, levels, list_runs
from control_plane.fleet.diagnostics.queries import LOST, begin_run, reap
from control_plane.fleet.diagnostics.taking import take_calls, take_engine
from control_plane.fleet.load_test import Sweep
from control_plane.fleet.load_test.queries import begin as begin_load_test
from control_plane.identifiers import AgentId, new_diagnostic_run_id, new_load_test_id
from control_plane.store import Store
from control_plane.store.diagnostic_tables import DiagnosticRun
from control_plane.store.tables import Agent, Audit, Deployment
from tests.support.fleet import enrol, eventually, new_fleet, new_scripted_agent, running
from tests.support.fleet_agent import ScriptedAgent
from tests.support.fleet_authority import ShortLivedAuthority

MODEL_ID = "qwen3-8b"


@dataclass
class Bench:
    store: Store
    agent: ScriptedAgent
    agent_id: AgentId
    fleet: Fleet
    runs: DiagnosticRuns

    def wishes(self) -> tuple[str | None, bool]:
        """The model that is wanted, and whether calls are turned away."""
        with self.store.reading() as session:
            deployment = session.get(Deployment, self.agent_id)
            return deployment.model_id if deployment else None, session.get_one(Agent, self.agent_id).drained

    async def serves(self) -> None:
        """A model, to its last step."""
        await self.fleet.deploy(self.agent_id, MODEL_ID, "operator")
        await eventually(lambda: self.phase() == agent_pb2.ENGINE_PHASE_READY)

    def phase(self) -> "agent_pb2.EnginePhase.ValueType | None":
        status = self.fleet.status(self.agent_id)
        return status.sample.engine.phase if status and status.sample else None

    async def run(self, run_id: str, condition: Callable[[Run], bool]) -> Run:
        def look() -> Run:
            with self.store.reading() as session:
                return find_run(session, run_id)

        await eventually(lambda: condition(look()))
        return look()

    async def ended(self, run_id: str) -> Run:
        return await self.run(run_id, lambda run: run.row.ended_unix_ms is not None)

    async def at_the_test(self) -> str:
        """A run of level 3 whose agent has told one result and is not done."""
        self.agent.behaviour.may_go_on = asyncio.Event()
        run_id = await self.runs.start(self.agent_id, "operator", level=3, acknowledged=True)
        await self.run(run_id, lambda run: bool(run.findings))
        assert self.wishes() == (None, True)
        return run_id


@pytest.fixture
async def bench(store: Store, authority: ShortLivedAuthority) -> AsyncIterator[Bench]:
    catalogue = Catalogue.load()
    fleet = new_fleet(store, authority, catalogue)
    runs = DiagnosticRuns(store, fleet)
    async with new_scripted_agent(authority) as agent, running(fleet):
        entry = catalogue.get(MODEL_ID)
        assert entry is not None
        agent.behaviour.catalogue = [agent_pb2.CatalogueReference(model_id=MODEL_ID, digest=entry.digest)]
        agent.behaviour.engine.phase = agent_pb2.ENGINE_PHASE_STOPPED
        agent.behaviour.diagnostics = [
            agent_pb2.DiagnosticResult(
                check="dcgm", title="t", saw="s", verdict=agent_pb2.DIAGNOSTIC_VERDICT_PASS
            )
            for _ in range(2)
        ]
        following = asyncio.create_task(runs.run())
        agent_id = await enrol(store, agent)
        here = Bench(store, agent, agent_id, fleet, runs)
        await eventually(lambda: here.phase() is not None)
        yield here
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following


async def test_the_card_is_drained_and_its_engine_stopped_first_and_both_come_back(bench: Bench) -> None:
    await bench.serves()
    bench.agent.behaviour.engine.running_calls = 1
    run_id = await bench.runs.start(bench.agent_id, "operator", level=2, acknowledged=True)
    await eventually(lambda: bench.phase() == agent_pb2.ENGINE_PHASE_DRAINING)
    assert bench.runs.check_under_way(run_id) == "waiting for the calls on the card to end"
    # Its call still runs: nothing is stopped.
    assert bench.wishes() == (MODEL_ID, True)
    assert "StopModel" not in bench.agent.calls
    bench.agent.behaviour.engine.running_calls = 0
    run = await bench.ended(run_id)
    assert (run.row.error, run.row.level, len(run.findings)) == (None, 2, 2)
    assert bench.agent.levels == [2]
    order = [each for each in bench.agent.calls if each in ("Drain", "StopModel", "RunDiagnostics")]
    assert order == ["Drain", "StopModel", "RunDiagnostics"]
    assert bench.wishes() == (MODEL_ID, False)
    await eventually(lambda: bench.phase() == agent_pb2.ENGINE_PHASE_READY)
    with bench.store.reading() as session:
        actions = [entry.action for entry in session.exec(select(Audit).order_by(Audit.id))]  # type: ignore[arg-type]
    assert [each for each in actions if each != "deployment.wanted"] == [
        "diagnostics.run",
        "agent.drained",
        "deployment.cleared",
        "agent.resumed",
    ]


async def test_a_cancelled_run_gives_back_what_it_took(bench: Bench) -> None:
    await bench.serves()
    run_id = await bench.at_the_test()
    await bench.runs.cancel(run_id, "operator")
    run = await bench.ended(run_id)
    assert (run.row.error, len(run.findings)) == ("cancelled", 1)
    assert bench.wishes() == (MODEL_ID, False)
    # Once ended, nothing is cancelled any more.
    await bench.runs.cancel(run_id, "operator")


async def test_an_agent_that_goes_away_in_the_middle_gets_back_what_was_taken(bench: Bench) -> None:
    await bench.serves()
    run_id = await bench.at_the_test()
    await bench.agent.stop()
    run = await bench.ended(run_id)
    assert run.row.error
    assert bench.wishes() == (MODEL_ID, False)


async def test_what_was_so_before_stays_so(bench: Bench) -> None:
    await bench.fleet.set_drained(bench.agent_id, "operator", drained=True)
    run_id = await bench.runs.start(bench.agent_id, "operator", level=3, acknowledged=True)
    assert (await bench.ended(run_id)).row.error is None
    assert bench.wishes() == (None, True)


async def test_calls_that_do_not_end_break_it_off_before_anything_is_stopped(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control_plane.fleet.diagnostics.runs.DRAIN_LIMIT_S", 1.0)
    await bench.serves()
    bench.agent.behaviour.engine.running_calls = 1
    run_id = await bench.runs.start(bench.agent_id, "operator", level=2, acknowledged=True)
    run = await bench.ended(run_id)
    assert run.row.error == "calls were still on the card after 1 s: nothing was tested"
    assert bench.wishes() == (MODEL_ID, False)
    assert not {"StopModel", "RunDiagnostics"} & set(bench.agent.calls)


async def test_what_cannot_be_run_there_is_refused_and_changes_nothing(bench: Bench) -> None:
    await bench.serves()
    with pytest.raises(Invalid, match="stresses the cards"):
        await bench.runs.start(bench.agent_id, "operator", level=2)
    with pytest.raises(Invalid, match="levels 0 to 3"):
        await bench.runs.start(bench.agent_id, "operator", level=4, acknowledged=True)
    bench.agent.behaviour.level_refusal = "dcgmi is not installed on this host: install NVIDIA's DCGM"
    with pytest.raises(Invalid, match="install NVIDIA's DCGM"):
        await bench.runs.start(bench.agent_id, "operator", level=2, acknowledged=True)
    assert bench.wishes() == (MODEL_ID, False)
    assert await bench.store.read(lambda session: list_runs(session, bench.agent_id, 10)) == []
    offers = await bench.runs.offers(bench.agent_id)
    assert [(each.level, each.stressful, each.refusal is None) for each in offers] == [
        (0, False, True),
        (1, False, False),
        (2, True, False),
        (3, True, False),
    ]


async def test_a_card_under_a_load_test_is_not_taken(bench: Bench) -> None:
    def load(session: Session) -> None:
        begin_load_test(
            session,
            test_id=new_load_test_id(),
            agent_id=bench.agent_id,
            model_id=MODEL_ID,
            sweep=Sweep(),
            actor="operator",
        )

    await bench.store.write(load)
    with pytest.raises(Duplicate, match="under load"):
        await bench.runs.start(bench.agent_id, "operator", level=2, acknowledged=True)
    await bench.ended(await bench.runs.start(bench.agent_id, "operator"))


async def _killed_in_the_middle(bench: Bench) -> str:
    """The record of a run whose process was killed after it had stopped the engine."""
    run_id = new_diagnostic_run_id()

    def run(session: Session) -> None:
        begin_run(session, run_id=run_id, agent_id=bench.agent_id, actor="operator", level=3, kind=Kind.HOST)
        session.flush()
        take_calls(session, run_id)
        take_engine(session, run_id)
        row = session.get_one(DiagnosticRun, run_id)
        row.lease_unix_ms = 1
        session.add(row)

    await bench.store.write(run)
    assert bench.wishes() == (None, True)
    return run_id


async def test_the_next_process_gives_back_what_a_killed_one_took(bench: Bench) -> None:
    await bench.serves()
    run_id = await _killed_in_the_middle(bench)
    await bench.store.write(reap)
    assert (await bench.ended(run_id)).row.error == LOST
    assert bench.wishes() == (MODEL_ID, False)


async def test_a_wish_of_meanwhile_holds(bench: Bench) -> None:
    await bench.serves()
    await _killed_in_the_middle(bench)
    # Cleared by somebody who means it, although it is cleared already.
    await bench.fleet.deploy(bench.agent_id, None, "operator")
    await bench.store.write(reap)
    assert bench.wishes() == (None, False)


async def test_a_run_that_has_ended_takes_nothing(bench: Bench) -> None:
    await bench.serves()
    run_id = await bench.runs.start(bench.agent_id, "operator")
    await bench.ended(run_id)
    await bench.store.write(lambda session: take_calls(session, run_id))
    await bench.store.write(lambda session: take_engine(session, run_id))
    assert bench.wishes() == (MODEL_ID, False)


def test_every_level_has_a_limit() -> None:
    assert sorted(levels.LIMIT_S) == list(range(levels.MAX_LEVEL + 1))
