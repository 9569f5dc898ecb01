"""The operator's pages: the fleet as a map, an agent's whole story, tenants, pools, plans, and the books."""

from typing import TYPE_CHECKING

from fastapi import APIRouter

from control_plane.console.door import Door
from control_plane.console.feed import Feeds
from control_plane.console.operator.agent import agent_page_routes
from control_plane.console.operator.economy import economy_page_routes
from control_plane.console.operator.fleet import fleet_page_routes
from control_plane.console.operator.ledger import ledger_page_routes
from control_plane.console.rendering import Rendering

if TYPE_CHECKING:
    from control_plane.console.console import ConsoleParts


def operator_routes(
    parts: "ConsoleParts", door: Door, rendering: Rendering, feeds: Feeds
) -> tuple[APIRouter, ...]:
    return (
        fleet_page_routes(parts, door, rendering, feeds),
        agent_page_routes(parts, door, rendering, feeds),
        economy_page_routes(parts.store, door, rendering),
        ledger_page_routes(parts.store, door, rendering),
    )
