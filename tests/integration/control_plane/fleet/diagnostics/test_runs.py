"""Runs of diagnostics: followed to their end whatever happens, and kept."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest
from daalu_wire.v1 import agent_pb2
from sqlmodel import select

from control_plane.access import Unknown
from control_plane.fleet import Fleet, NotConnected
from control_plane.fleet.diagnostics import AlreadyRunning, DiagnosticRuns, Run, Verdict, find_run
from control_plane.fleet.diagnostics.finding import MAX_WORDS_CHARACTERS, Finding
from control_plane.fleet.diagnostics.runs import MAX_FINDINGS
from control_plane.identifiers import AgentId
from control_plane.store import Store
from control_plane.store.tables import Audit
from tests.support.fleet import enrol, eventually, new_fleet, new_scripted_agent, running
from tests.support.fleet_agent import ScriptedAgent
from tests.support.fleet_authority import ShortLivedAuthority


def _result(title: str, **fields: object) -> agent_pb2.DiagnosticResult:
    values: dict[str, object] = {
        "check": title,
        "title": title,
        "verdict": agent_pb2.DIAGNOSTIC_VERDICT_PASS,
        "saw": "well",
    }
    return agent_pb2.DiagnosticResult(**(values | fields))  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def _bench(
    store: Store, authority: ShortLivedAuthority
) -> AsyncIterator[tuple[ScriptedAgent, AgentId, Fleet, DiagnosticRuns]]:
    """With an agent that is connected."""
    fleet = new_fleet(store, authority)
    runs = DiagnosticRuns(store, fleet)
    async with new_scripted_agent(authority) as agent, running(fleet):
        following = asyncio.create_task(runs.run())
        agent_id = await enrol(store, agent)
        await eventually(lambda: _is_connected(fleet, agent_id))
        yield agent, agent_id, fleet, runs
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following


def _is_connected(fleet: Fleet, agent_id: AgentId) -> bool:
    try:
        fleet._connected(agent_id)
    except (NotConnected, Unknown):
        return False
    return True


async def _once(store: Store, run_id: str, condition: Callable[[Run], bool]) -> Run:
    while True:
        run = await store.read(lambda session: find_run(session, run_id))
        if condition(run):
            return run
        await asyncio.sleep(0.01)


async def _ended(store: Store, run_id: str) -> Run:
    return await _once(store, run_id, lambda run: run.row.ended_unix_ms is not None)


async def _found_something(store: Store, run_id: str) -> Run:
    return await _once(store, run_id, lambda run: bool(run.findings))


async def test_findings_are_kept_as_they_come_and_the_run_is_audited(
    any_store: Store, authority: ShortLivedAuthority
) -> None:
    async with _bench(any_store, authority) as (agent, agent_id, _, runs):
        agent.behaviour.may_go_on = asyncio.Event()
        evidence = agent_pb2.DiagnosticEvidence(command="statvfs /", output="4 GiB")
        agent.behaviour.diagnostics = [
            _result("disk", evidence=[evidence], verdict=agent_pb2.DIAGNOSTIC_VERDICT_WARN, duration_ms=12),
            _result("engine"),
        ]
        run_id = await runs.start(agent_id, "operator")
        with pytest.raises(AlreadyRunning, match=run_id):
            await runs.start(agent_id, "operator")
        run = await _found_something(any_store, run_id)
        (finding,) = run.findings
        assert (finding.check, finding.verdict, finding.duration_ms) == ("disk", Verdict.WARN, 12)
        assert [(each.command, each.output) for each in finding.evidence] == [("statvfs /", "4 GiB")]
        assert runs.check_under_way(run_id) == "disk"
        assert run.row.ended_unix_ms is None
        agent.behaviour.may_go_on.set()
        run = await _ended(any_store, run_id)
        assert [each.check for each in run.findings] == ["disk", "engine"]
        assert (run.row.error, run.agent_name) == (None, "host")
        with any_store.reading() as session:
            (entry,) = session.exec(select(Audit).where(Audit.action == "diagnostics.run"))
        assert (entry.actor, entry.subject, entry.tenant_id) == ("operator", agent_id, run.row.tenant_id)
        await _ended(any_store, await runs.start(agent_id, "operator"))


async def test_an_agent_that_goes_away_in_the_middle_ends_the_run_with_what_was_found(
    store: Store, authority: ShortLivedAuthority
) -> None:
    async with _bench(store, authority) as (agent, agent_id, _, runs):
        agent.behaviour.may_go_on = asyncio.Event()
        agent.behaviour.diagnostics = [_result("disk"), _result("engine")]
        run_id = await runs.start(agent_id, "operator")
        await _found_something(store, run_id)
        await agent.stop()
        run = await _ended(store, run_id)
        assert [each.check for each in run.findings] == ["disk"]
        assert run.row.error


async def test_stopping_the_control_plane_is_said_in_the_record(
    store: Store, authority: ShortLivedAuthority
) -> None:
    async with _bench(store, authority) as (agent, agent_id, _, runs):
        agent.behaviour.may_go_on = asyncio.Event()
        agent.behaviour.diagnostics = [_result("disk"), _result("engine")]
        run_id = await runs.start(agent_id, "operator")
    run = await _ended(store, run_id)
    assert run.row.error == "the control plane was stopped"


async def test_an_agent_that_is_not_there_cannot_be_looked_over(
    store: Store, authority: ShortLivedAuthority
) -> None:
    async with _bench(store, authority) as (agent, agent_id, fleet, runs):
        with pytest.raises(Unknown):
            await runs.start(AgentId("agt-none"), "operator")
        await agent.stop()
        await eventually(lambda: not _is_connected(fleet, agent_id))
        with pytest.raises(NotConnected):
            await runs.start(agent_id, "operator")


async def test_an_agent_that_sends_without_end_is_cut_off(
    store: Store, authority: ShortLivedAuthority
) -> None:
    async with _bench(store, authority) as (agent, agent_id, _, runs):
        agent.behaviour.diagnostics = [_result(f"check {number}") for number in range(MAX_FINDINGS + 5)]
        run = await _ended(store, await runs.start(agent_id, "operator"))
        assert len(run.findings) == MAX_FINDINGS
        assert run.row.error == f"the agent sent more than {MAX_FINDINGS} findings"
        agent.behaviour.diagnostics = []
        run = await _ended(store, await runs.start(agent_id, "operator"))
        assert run.row.error == "the agent found nothing to look at"


def test_what_an_agent_says_is_cut_to_size_and_an_unknown_verdict_judges_nothing() -> None:
    finding = Finding.of(
        agent_pb2.DiagnosticResult(
            check="c" * 1_000,
            saw="a\0" + "s" * 10_000,
            duration_ms=2**32 - 1,
            verdict=99,  # type: ignore[arg-type]
            evidence=[agent_pb2.DiagnosticEvidence(output="o" * 10_000)] * 100,
        )
    )
    assert finding.verdict is Verdict.NOT_AVAILABLE
    assert (len(finding.check), len(finding.saw)) == (64, MAX_WORDS_CHARACTERS)
    assert "\0" not in finding.saw
    assert (len(finding.evidence), len(finding.evidence[0].output)) == (32, MAX_WORDS_CHARACTERS)
    assert finding.duration_ms == 2**31 - 1
