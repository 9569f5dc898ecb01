"""REST: load tests of own cards. One goes on by itself; whoever follows it asks again."""

import json
from enum import StrEnum
from typing import Annotated, Any, Protocol, Self

from fastapi import APIRouter, Query
from fastapi.responses import PlainTextResponse
from sqlmodel import Session

from control_plane.access import OPERATOR
from control_plane.api.change import Change
from control_plane.api.csv_table import csv_text
from control_plane.api.queries import find_agent
from control_plane.api.schemas import Request, Response
from control_plane.fleet.load_test import (
    FIGURES,
    Found,
    StepFigures,
    Sweep,
    clear_limit,
    earlier_of_model,
    find_limit,
    find_load_test,
    list_load_tests,
)
from control_plane.identifiers import AgentId, LoadTestId
from control_plane.store import Store

MAX_LISTED = 100
_DEFAULT = Sweep()


class LoadTestState(StrEnum):
    RUNNING = "running"
    ENDED = "ended"
    # It ended before its last step; `error` says why.
    BROKEN_OFF = "broken_off"


class SweepRequest(Request):
    concurrencies: tuple[int, ...] = _DEFAULT.concurrencies
    input_tokens: int = _DEFAULT.input_tokens
    output_tokens: int = _DEFAULT.output_tokens
    requests_per_call: int = _DEFAULT.requests_per_call
    duration_s: int = _DEFAULT.duration_s

    def sweep(self) -> Sweep:
        return Sweep(
            self.concurrencies,
            self.input_tokens,
            self.output_tokens,
            self.requests_per_call,
            self.duration_s,
        )


class LoadTestResponse(Response):
    id: str
    agent_id: str
    agent_name: str
    tenant_id: str
    model_id: str
    actor: str
    sweep: dict[str, Any]
    started_unix_ms: int
    ended_unix_ms: int | None
    state: LoadTestState
    error: str | None
    # Calls at once; None: the sweep did not go far enough to see it, or has not ended.
    knee_concurrency: int | None
    steps: list[StepFigures]
    # The last of the same agent, model and sweep before it.
    earlier_id: str | None
    # By concurrency: output tokens/s against the earlier one's, 1 for the same.
    against_earlier: dict[int, float]

    @classmethod
    def of(cls, found: Found, earlier: Found | None = None) -> Self:
        row = found.row
        before = {step.concurrency: step.output_tokens_per_s for step in earlier.steps} if earlier else {}
        ended = LoadTestState.BROKEN_OFF if row.error else LoadTestState.ENDED
        return cls(
            id=row.id,
            agent_id=row.agent_id,
            agent_name=found.agent_name,
            tenant_id=row.tenant_id,
            model_id=row.model_id,
            actor=row.actor,
            sweep=json.loads(row.sweep),
            started_unix_ms=row.started_unix_ms,
            ended_unix_ms=row.ended_unix_ms,
            state=LoadTestState.RUNNING if row.ended_unix_ms is None else ended,
            error=row.error,
            knee_concurrency=row.knee_concurrency,
            steps=list(found.steps),
            earlier_id=earlier.row.id if earlier is not None else None,
            against_earlier={
                step.concurrency: round(step.output_tokens_per_s / before[step.concurrency], 3)
                for step in found.steps
                if before.get(step.concurrency)
            },
        )


class LimitResponse(Response):
    """`concurrency`: the knee. It holds while the agent serves this model."""

    agent_id: str
    model_id: str
    concurrency: int
    load_test_id: str
    set_unix_ms: int


class _Csv(PlainTextResponse):
    media_type = "text/csv"


class LoadTestRuns(Protocol):
    """What these routes need of load tests."""

    async def start(self, agent_id: AgentId, sweep: Sweep, actor: str) -> LoadTestId: ...

    async def cancel(self, test_id: str, actor: str) -> None: ...


def load_test_routes(store: Store, runs: LoadTestRuns, change: Change) -> APIRouter:
    routes = APIRouter()

    async def shown(test_id: str) -> LoadTestResponse:
        def query(session: Session) -> LoadTestResponse:
            found = find_load_test(session, test_id)
            return LoadTestResponse.of(found, earlier_of_model(session, found))

        return await store.read(query)

    @routes.post("/agents/{agent}/loadtests", status_code=202)
    async def start(agent: str, wanted: SweepRequest) -> LoadTestResponse:
        """Begins a load test of an agent's model. It goes on by itself: ask for it again."""
        row, _ = await store.read(lambda session: find_agent(session, agent))
        return await shown(await runs.start(AgentId(row.id), wanted.sweep(), OPERATOR))

    @routes.get("/agents/{agent}/loadtests")
    async def of_agent(
        agent: str, limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 10
    ) -> list[LoadTestResponse]:
        """Load tests of an agent, the newest first."""

        def query(session: Session) -> list[LoadTestResponse]:
            row, _ = find_agent(session, agent)
            return [LoadTestResponse.of(found) for found in list_load_tests(session, row.id, limit)]

        return await store.read(query)

    @routes.get("/loadtests/{test_id}")
    async def load_test(test_id: str) -> LoadTestResponse:
        """One load test, with its steps so far, against the last one of the same kind."""
        return await shown(test_id)

    @routes.post("/loadtests/{test_id}/cancel")
    async def cancel(test_id: str) -> LoadTestResponse:
        """Ends a load test. What was measured so far stays."""
        await runs.cancel(test_id, OPERATOR)
        return await shown(test_id)

    @routes.get("/loadtests/{test_id}/csv", response_class=_Csv)
    async def as_csv(test_id: str) -> PlainTextResponse:
        """A load test's steps as CSV."""
        found = await store.read(lambda session: find_load_test(session, test_id))
        return PlainTextResponse(load_test_csv(found), media_type="text/csv")

    @routes.get("/agents/{agent}/queue-limit")
    async def limit(agent: str) -> LimitResponse | None:
        """The limit that a load test measured. null: nothing measured holds."""

        def query(session: Session) -> LimitResponse | None:
            row = find_limit(session, find_agent(session, agent)[0].id)
            return LimitResponse(**{name: getattr(row, name) for name in _LIMIT}) if row is not None else None

        return await store.read(query)

    @routes.post("/agents/{agent}/queue-limit/clear")
    async def clear(agent: str) -> LimitResponse:
        """Forgets the measured limit of an agent."""

        def unit(session: Session) -> LimitResponse:
            row = clear_limit(session, agent_id=find_agent(session, agent)[0].id, actor=OPERATOR)
            return LimitResponse(**{name: getattr(row, name) for name in _LIMIT})

        return await change(unit)

    return routes


_LIMIT = tuple(LimitResponse.model_fields)


def load_test_csv(found: Found) -> str:
    """Its steps, a row each."""
    return csv_text(FIGURES, [[getattr(step, name) for name in FIGURES] for step in found.steps])
