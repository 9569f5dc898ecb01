"""The operator's first page: the fleet by state and card class, live."""

import asyncio
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from control_plane.api import list_agents
from control_plane.catalogue import CardClasses
from control_plane.console.door import Door
from control_plane.console.feed import Feeds, Parts
from control_plane.console.live import live_answer
from control_plane.console.operator.fleet_map import NO_CARD, Host, fleet_map, state_of
from control_plane.console.pages import OPERATOR_HOME
from control_plane.console.rendering import Rendering
from control_plane.fleet import AgentStatus, Health, identity_of
from control_plane.identifiers import AgentId
from control_plane.store.tables import Agent

if TYPE_CHECKING:
    from control_plane.console.console import ConsoleParts

# A page with more of them is slow to draw, and nobody looks at each.
MOST_TILES = 400


def fleet_page_routes(parts: "ConsoleParts", door: Door, rendering: Rendering, feeds: Feeds) -> APIRouter:
    routes = APIRouter()

    async def render() -> Parts:
        found = await parts.store.read(lambda session: list_agents(session, None, revoked=False))
        hosts = [
            host(row, name, parts.fleet.status(AgentId(row.id)), parts.card_classes) for row, name in found
        ]

        def draw() -> str:
            return rendering.part("operator/map.html", fleet=fleet_map(hosts, most=MOST_TILES))

        # Of a large fleet it takes tens of milliseconds.
        return {"map": await asyncio.to_thread(draw)}

    @routes.get(OPERATOR_HOME.path)
    async def page(request: Request) -> Response:
        viewer = await door.viewer(request, OPERATOR_HOME)
        return rendering.page(viewer, OPERATOR_HOME, "operator/fleet.html", live=await render())

    @routes.get("/console/live/operator")
    async def live(request: Request) -> Response:
        viewer = await door.viewer(request, OPERATOR_HOME)
        return live_answer(request, viewer, door, feeds, OPERATOR_HOME, ("operator", "fleet"), render)

    return routes


def host(row: Agent, tenant_name: str, status: AgentStatus | None, classes: CardClasses) -> Host:
    inventory = status.inventory if status else None
    cards = list(inventory.cards) if inventory else []
    found = classes.recognise(*identity_of(cards[0])) if cards else None
    engine = status.sample.engine if status and status.sample else None
    return Host(
        agent_id=row.id,
        name=row.name,
        tenant_name=tenant_name,
        state=state_of(
            status.liveness if status else "never",
            status.health.health if status else Health.UNKNOWN,
            drained=row.drained,
        ),
        card_class=found.name if found else NO_CARD,
        cards_count=len(cards),
        serves=engine.served_name or None if engine else None,
        simulated=any(card.simulated for card in cards),
    )
