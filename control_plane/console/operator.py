"""The operator's first page: every agent by liveness and health."""

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from control_plane.api import AgentSummary, list_agents
from control_plane.console.door import Door
from control_plane.console.pages import OPERATOR_HOME
from control_plane.console.rendering import Rendering
from control_plane.identifiers import AgentId

if TYPE_CHECKING:
    from control_plane.console.console import ConsoleParts


def operator_routes(parts: "ConsoleParts", door: Door, rendering: Rendering) -> APIRouter:
    routes = APIRouter()

    @routes.get(OPERATOR_HOME.path)
    async def page(request: Request) -> Response:
        viewer = await door.viewer(request, OPERATOR_HOME)
        found = await parts.store.read(lambda session: list_agents(session, None, revoked=False))
        agents = [AgentSummary.of_row(row, name, parts.fleet.status(AgentId(row.id))) for row, name in found]
        return rendering.page(viewer, OPERATOR_HOME, "operator.html", agents=agents)

    return routes
