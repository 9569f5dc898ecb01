"""REST: diagnostics of an agent's host. A run goes on by itself; whoever follows it asks again."""

from enum import StrEnum
from typing import Annotated, Protocol, Self

from fastapi import APIRouter, Query

from control_plane.access import OPERATOR
from control_plane.api.queries import find_agent
from control_plane.api.schemas import Request, Response
from control_plane.fleet.diagnostics import (
    Finding,
    Kind,
    Offer,
    Run,
    Verdict,
    find_run,
    is_lost,
    list_runs,
    worst,
)
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
    # host, or pipeline: every stage from the card to the page.
    kind: Kind
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
        lost = is_lost(row.started_unix_ms, row.ended_unix_ms, row.lease_unix_ms)
        ended = RunState.BROKEN_OFF if lost or row.error else RunState.ENDED
        return cls(
            id=row.id,
            agent_id=row.agent_id,
            agent_name=run.agent_name,
            tenant_id=row.tenant_id,
            level=row.level,
            kind=Kind(row.kind),
            actor=row.actor,
            started_unix_ms=row.started_unix_ms,
            ended_unix_ms=row.ended_unix_ms,
            state=ended if lost or row.ended_unix_ms is not None else RunState.RUNNING,
            error="the control plane ended before it did" if lost else row.error,
            now=now,
            verdict=worst(finding.verdict for finding in run.findings),
            findings=[FindingResponse.of(finding) for finding in run.findings],
        )


class DiagnosticsRequest(Request):
    """0: the agent's own look; 1 to 3: NVIDIA's tests, by dcgmi on the host."""

    level: int = 0
    # Levels 2 and 3 take the card from its calls and stop its engine, until they end.
    acknowledge_stress: bool = False


class LevelResponse(Response):
    level: int
    stressful: bool
    limit_s: float
    # Why the agent's host cannot run it, and what to do; None: it can.
    refusal: str | None


class Runs(Protocol):
    """What these routes need of diagnostics."""

    async def start(
        self, agent_id: AgentId, actor: str, *, level: int = 0, acknowledged: bool = False
    ) -> DiagnosticRunId: ...

    async def start_selftest(self, agent_id: AgentId, actor: str) -> DiagnosticRunId: ...

    async def cancel(self, run_id: str, actor: str) -> None: ...

    async def offers(self, agent_id: AgentId) -> list[Offer]: ...

    def check_under_way(self, run_id: str) -> str | None: ...


def diagnostic_routes(store: Store, runs: Runs) -> APIRouter:
    routes = APIRouter()

    async def shown(run_id: str) -> RunResponse:
        found = await store.read(lambda session: find_run(session, run_id))
        return RunResponse.of(found, runs.check_under_way(run_id))

    @routes.post("/agents/{agent}/diagnostics", status_code=202)
    async def start(agent: str, wanted: DiagnosticsRequest | None = None) -> RunResponse:
        """Has an agent look its host over, at level 0 unless said. The run goes on by itself: ask again."""
        row, _ = await store.read(lambda session: find_agent(session, agent))
        wanted = wanted or DiagnosticsRequest()
        started = await runs.start(
            AgentId(row.id), OPERATOR, level=wanted.level, acknowledged=wanted.acknowledge_stress
        )
        return await shown(started)

    @routes.post("/agents/{agent}/selftest", status_code=202)
    async def selftest(agent: str) -> RunResponse:
        """Every stage from the card to the page; listed, shown and cancelled with the diagnostics."""
        row, _ = await store.read(lambda session: find_agent(session, agent))
        return await shown(await runs.start_selftest(AgentId(row.id), OPERATOR))

    @routes.get("/agents/{agent}/diagnostics/levels")
    async def levels(agent: str) -> list[LevelResponse]:
        """Which levels an agent's host can run now, and why not the others."""
        row, _ = await store.read(lambda session: find_agent(session, agent))
        return [
            LevelResponse(
                level=each.level, stressful=each.stressful, limit_s=each.limit_s, refusal=each.refusal
            )
            for each in await runs.offers(AgentId(row.id))
        ]

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

    @routes.post("/diagnostics/{run_id}/cancel")
    async def cancel(run_id: str) -> RunResponse:
        """Ends a run; what it took from the card's service is given back."""
        await runs.cancel(run_id, OPERATOR)
        return await shown(run_id)

    return routes
