"""REST: what an agent's cards and engine reported over a range of time."""

import asyncio
import logging
import sqlite3
from pathlib import Path
from typing import Annotated, Self

from fastapi import APIRouter, HTTPException, Query

from control_plane.access import Invalid, Unknown
from control_plane.api.queries import find_agent
from control_plane.api.schemas import Response
from control_plane.fleet.telemetry import (
    ENGINE,
    FIELDS,
    History,
    Kind,
    SubjectHistory,
    Values,
    Wanted,
    read_history,
)
from control_plane.identifiers import AgentId, TenantId
from control_plane.store import Store, unix_ms

logger = logging.getLogger(__name__)

HOUR_MS = 3_600_000
LONGEST_MS = 366 * 24 * HOUR_MS
MAX_POINTS = 2_000
Numbers = list[float | None]


class FieldResponse(Response):
    """A value for each point; null where nothing is known: not reported, not supported, or failed.

    `least` and `most` are null for raw samples. `reasons` stands in the numbers' place for a field of words.
    """

    unit: str
    mean: Numbers | None
    least: Numbers | None
    most: Numbers | None
    reasons: list[list[str] | None] | None

    @classmethod
    def of(cls, values: Values, *, raw: bool) -> Self:
        numbers = values.reading.kind is Kind.NUMBER
        return cls(
            unit=values.reading.unit,
            mean=values.mean if numbers else None,
            least=values.least if numbers and not raw else None,
            most=values.most if numbers and not raw else None,
            reasons=None if numbers else values.flags,
        )


class SubjectResponse(Response):
    """One card, or the engine: then without UUID and index."""

    card_uuid: str | None
    card_index: int | None
    simulated: bool
    # When each point was sampled, or its step began.
    at_unix_ms: list[int]
    fields: dict[str, FieldResponse]

    @classmethod
    def of(cls, subject: SubjectHistory, *, raw: bool) -> Self:
        is_engine = subject.subject == ENGINE
        return cls(
            card_uuid=None if is_engine else subject.subject,
            card_index=subject.index,
            simulated=subject.simulated,
            at_unix_ms=subject.at_unix_ms,
            fields={name: FieldResponse.of(values, raw=raw) for name, values in subject.values.items()},
        )


class TelemetryResponse(Response):
    """`step_ms` between points; 0: raw samples, as they came, with an empty point in each gap."""

    agent_id: str
    from_unix_ms: int
    to_unix_ms: int
    step_ms: int
    cards: list[SubjectResponse]
    # None: it was never heard of.
    engine: SubjectResponse | None

    @classmethod
    def of(cls, wanted: Wanted, history: History) -> Self:
        raw = history.step_ms == 0
        shown = {each.subject: SubjectResponse.of(each, raw=raw) for each in history.subjects}
        engine = shown.pop(ENGINE, None)
        return cls(
            agent_id=wanted.agent_id,
            from_unix_ms=wanted.from_unix_ms,
            to_unix_ms=wanted.to_unix_ms,
            step_ms=history.step_ms,
            cards=list(shown.values()),
            engine=engine,
        )


def telemetry_routes(store: Store, path: Path) -> APIRouter:
    routes = APIRouter()

    @routes.get("/agents/{agent}/telemetry")
    async def telemetry(
        agent: str,
        begin: Annotated[int | None, Query(alias="from", ge=0)] = None,
        end: Annotated[int | None, Query(alias="to", ge=0)] = None,
        points: Annotated[int, Query(ge=2, le=MAX_POINTS)] = 300,
        card: str | None = None,
        field: Annotated[list[str] | None, Query()] = None,
    ) -> TelemetryResponse:
        """What cards and engine reported over time, with as many points as were asked for.

        `from` and `to` in Unix milliseconds; the last hour unless given. `card`: a UUID, or "engine".
        """
        end = unix_ms() if end is None else end
        begin = max(0, end - HOUR_MS) if begin is None else begin
        if not 0 < end - begin <= LONGEST_MS:
            raise Invalid("from must be before to, by a year at most, in Unix milliseconds")
        for name in field or []:
            if name not in FIELDS:
                raise Unknown("field", name)
        row, _ = await store.read(lambda session: find_agent(session, agent))
        wanted = Wanted(
            tenant_id=TenantId(row.tenant_id),
            agent_id=AgentId(row.id),
            from_unix_ms=begin,
            to_unix_ms=end,
            most_points=points,
            subject=card,
            fields=frozenset(field) if field else None,
        )
        try:
            history = await asyncio.to_thread(read_history, path, wanted)
        except sqlite3.Error as error:
            logger.warning("%s cannot be read: %s", path, error)
            raise HTTPException(503, "telemetry cannot be read now; see the control plane's log") from error
        return TelemetryResponse.of(wanted, history)

    return routes
