"""REST: what an owner allows of pool work on an agent."""

from dataclasses import replace
from typing import Annotated, Self

from fastapi import APIRouter
from pydantic import Field

from control_plane.access import OPERATOR
from control_plane.api.agents import Fleet
from control_plane.api.queries import find_agent
from control_plane.api.schemas import Request, Response
from control_plane.fleet import AgentStatus, PoolLimits, Window, pool_limits_of
from control_plane.identifiers import AgentId
from control_plane.store import Store

_Hours = Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=100)]


class LimitsRequest(Request):
    """What is not sent stays as it is; null and no hours take a limit back. A zone goes with its hours."""

    hours: _Hours | None = None
    zone: Annotated[str, Field(max_length=100)] | None = None
    max_celsius: Annotated[int, Field(strict=True)] | None = None
    max_watts: Annotated[int, Field(strict=True)] | None = None

    def applied_to(self, before: PoolLimits) -> PoolLimits:
        """Raises ValueErrors of PoolLimits and Window."""
        given = {name: getattr(self, name) for name in self.model_fields_set - {"hours"}}
        if "hours" not in self.model_fields_set:
            return replace(before, **given)
        hours = tuple(Window.parse(each) for each in self.hours or ())
        if not hours and "zone" not in given:
            given["zone"] = None
        return replace(before, hours=hours, **given)


class LimitsResponse(Response):
    """None and empty: no limit."""

    hours: list[str]
    zone: str | None
    max_celsius: int | None
    max_watts: int | None
    # Which of them forbids pool work now, hours, temperature or power, and why in words; None: none does, or
    # the agent has not been heard of.
    closed_by: str | None
    words: str | None

    @classmethod
    def of(cls, limits: PoolLimits, status: AgentStatus | None) -> Self:
        closed = status.pool_closed if status else None
        return cls(
            hours=list(map(str, limits.hours)),
            zone=limits.zone,
            max_celsius=limits.max_celsius,
            max_watts=limits.max_watts,
            closed_by=closed.kind if closed else None,
            words=closed.words if closed else None,
        )


def pool_limit_routes(store: Store, fleet: Fleet) -> APIRouter:
    routes = APIRouter()

    async def shown(id_or_name: str) -> LimitsResponse:
        agent, _ = await store.read(lambda session: find_agent(session, id_or_name))
        return LimitsResponse.of(pool_limits_of(agent), fleet.status(AgentId(agent.id)))

    async def change(id_or_name: str, wanted: LimitsRequest) -> LimitsResponse:
        agent, _ = await store.read(lambda session: find_agent(session, id_or_name))
        await fleet.set_pool_limits(AgentId(agent.id), wanted.applied_to, OPERATOR)
        return await shown(agent.id)

    @routes.get("/agents/{agent}/limits")
    async def limits(agent: str) -> LimitsResponse:
        """When and how hot an agent's cards may work for pools."""
        return await shown(agent)

    @routes.patch("/agents/{agent}/limits")
    async def set_limits(agent: str, wanted: LimitsRequest) -> LimitsResponse:
        """Changes the limits that are named, and no others; at once."""
        return await change(agent, wanted)

    @routes.delete("/agents/{agent}/limits")
    async def clear_limits(agent: str) -> LimitsResponse:
        """Takes all limits off an agent's work for pools."""
        return await change(agent, LimitsRequest(hours=None, zone=None, max_celsius=None, max_watts=None))

    return routes
