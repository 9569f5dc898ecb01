"""REST: diagnostics of an agent's host. A run goes on by itself; whoever follows it asks again."""

from enum import StrEnum
from typing import Annotated, Protocol, Self

from fastapi import APIRouter, Query

from control_plane.access import OPERATOR
from control_plane.api.queries import find_agent
from control_plane.api.schemas import Response
from control_plane.fleet.diagnostics import Finding, Run, Verdict, find_run, is_lost, list_runs, worst
from control_plane.identifiers import AgentId, DiagnosticRunId
from control_plane.store import Store

MAX_RUNS = 100


class RunState(StrEnum):
    RUNNING = "running"
    ENDED = "ended"
    # It ended before its last check; `error` says why.
    BROKEN_OFF = "broken_off"


class EvidenceResponse(Response):
    command: str
    output: str


class FindingResponse(Response):
    """In the agent's own words. `verdict`: pass, warn, fail or not_available."""

    check: str
    title: str
    verdict: Verdict
    saw: str
    advice: str
    duration_ms: int
    evidence: list[EvidenceResponse]

    @classmethod
    def of(cls, finding: Finding) -> Self:
        return cls(
            check=finding.check,
            title=finding.title,
            verdict=finding.verdict,
            saw=finding.saw,
            advice=finding.advice,
            duration_ms=finding.duration_ms,
            evidence=[
                EvidenceResponse(command=each.command, output=each.output) for each in finding.evidence
            ],
        )


class RunResponse(Response):
    id: str
    agent_id: str
    agent_name: str
    tenant_id: str
    level: int
    actor: str
    started_unix_ms: int
    ended_unix_ms: int | None
    state: RunState
    error: str | None
    # The check that it is at; None: not known.
    now: str | None
    # Of the findings so far, the worst.
    verdict: Verdict
    findings: list[FindingResponse]

    @classmethod
    def of(cls, run: Run, now: str | None) -> Self:
        row = run.row
        lost = is_lost(row.started_unix_ms, row.ended_unix_ms)
        ended = RunState.BROKEN_OFF if lost or row.error else RunState.ENDED
        return cls(
            id=row.id,
            agent_id=row.agent_id,
            agent_name=run.agent_name,
            tenant_id=row.tenant_id,
            level=row.level,
            actor=row.actor,
            started_unix_ms=row.started_unix_ms,
            ended_unix_ms=row.ended_unix_ms,
            state=ended if lost or row.ended_unix_ms is not None else RunState.RUNNING,
            error="the control plane ended before it did" if lost else row.error,
            now=now,
            verdict=worst(finding.verdict for finding in run.findings),
            findings=[FindingResponse.of(finding) for finding in run.findings],
        )


class Runs(Protocol):
    """What these routes need of diagnostics."""

    async def start(self, agent_id: AgentId, actor: str) -> DiagnosticRunId: ...

    def check_under_way(self, run_id: str) -> str | None: ...


def diagnostic_routes(store: Store, runs: Runs) -> APIRouter:
    routes = APIRouter()

    async def shown(run_id: str) -> RunResponse:
        found = await store.read(lambda session: find_run(session, run_id))
        return RunResponse.of(found, runs.check_under_way(run_id))

    @routes.post("/agents/{agent}/diagnostics", status_code=202)
    async def start(agent: str) -> RunResponse:
        """Has an agent look its host over. The run goes on by itself: ask for it again."""
        row, _ = await store.read(lambda session: find_agent(session, agent))
        return await shown(await runs.start(AgentId(row.id), OPERATOR))

    @routes.get("/agents/{agent}/diagnostics")
    async def of_agent(agent: str, limit: Annotated[int, Query(ge=1, le=MAX_RUNS)] = 10) -> list[RunResponse]:
        """Runs of diagnostics on an agent, the newest first."""
        row, _ = await store.read(lambda session: find_agent(session, agent))
        found = await store.read(lambda session: list_runs(session, row.id, limit))
        return [RunResponse.of(run, runs.check_under_way(run.row.id)) for run in found]

    @routes.get("/diagnostics/{run_id}")
    async def run(run_id: str) -> RunResponse:
        """One run of diagnostics, with its findings so far."""
        return await shown(run_id)

    return routes
