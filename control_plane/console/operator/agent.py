"""An agent's whole story on one page, and what an operator may do to it there."""

import asyncio
import logging
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from sqlmodel import Session

from control_plane.access import Unknown
from control_plane.api import AgentDetail, find_agent
from control_plane.console.door import Door, Refused
from control_plane.console.feed import Feeds, Parts, Render
from control_plane.console.live import live_answer
from control_plane.console.operator.fleet import host
from control_plane.console.operator.queries import Story, story_of
from control_plane.console.pages import OPERATOR_HOME
from control_plane.console.rendering import Rendering
from control_plane.fleet.telemetry import Change, Reliability, Span, read_changes, read_reliability
from control_plane.identifiers import AgentId, TenantId
from control_plane.store import unix_ms
from control_plane.store.tables import Agent

if TYPE_CHECKING:
    from control_plane.console.console import ConsoleParts

logger = logging.getLogger(__name__)

EVENTS_OF_MS = 7 * 24 * 3_600_000
MOST_EVENTS = 30
_PATH = f"{OPERATOR_HOME.path}/agents/{{agent}}"


def agent_page_routes(parts: "ConsoleParts", door: Door, rendering: Rendering, feeds: Feeds) -> APIRouter:
    routes = APIRouter()
    store, fleet = parts.store, parts.fleet

    async def found(agent_id: str) -> tuple[Agent, str]:
        return await store.read(lambda session: _by_id(session, agent_id))

    def renderer(agent_id: str) -> Render:
        async def render() -> Parts:
            row, tenant_name = await found(agent_id)
            status = fleet.status(AgentId(row.id))
            values = {
                "detail": AgentDetail.of_row(row, tenant_name, status),
                "host": host(row, tenant_name, status, parts.card_classes),
            }
            return {
                name: rendering.part(f"operator/agent_{name}.html", **values)
                for name in ("head", "tunnel", "health", "deployment")
            }

        return render

    @routes.get(_PATH)
    async def page(request: Request, agent: str) -> Response:
        viewer = await door.viewer(request, OPERATOR_HOME)
        row, tenant_name = await found(agent)

        def query(session: Session) -> Story:
            return story_of(session, row)

        reliability, events = await asyncio.to_thread(history_of, parts.telemetry, row)
        return rendering.page(
            viewer,
            OPERATOR_HOME,
            "operator/agent.html",
            agent=row,
            tenant_name=tenant_name,
            live=await renderer(row.id)(),
            story=await store.read(query),
            reliability=reliability,
            events=events,
        )

    @routes.get("/console/live/operator/agents/{agent}")
    async def live(request: Request, agent: str) -> Response:
        viewer = await door.viewer(request, OPERATOR_HOME)
        row, _ = await found(agent)
        key = ("operator", "agent", row.id)
        return live_answer(request, viewer, door, feeds, OPERATOR_HOME, key, renderer(row.id))

    async def set_drained(request: Request, agent_id: str, *, drained: bool) -> Response:
        viewer, _ = await door.change(request, OPERATOR_HOME)
        row, _ = await found(agent_id)
        await fleet.set_drained(AgentId(row.id), viewer.actor, drained=drained)
        return _back_to(row)

    @routes.post(f"{_PATH}/drain")
    async def drain(request: Request, agent: str) -> Response:
        return await set_drained(request, agent, drained=True)

    @routes.post(f"{_PATH}/resume")
    async def resume(request: Request, agent: str) -> Response:
        return await set_drained(request, agent, drained=False)

    @routes.post(f"{_PATH}/revoke")
    async def revoke(request: Request, agent: str) -> Response:
        viewer, form = await door.change(request, OPERATOR_HOME)
        row, _ = await found(agent)
        if form.get("confirm", "").strip() != row.name:
            raise Refused(422, f"Nothing was done: to revoke this agent, type its name, {row.name}.")
        await parts.revoke_agent(AgentId(row.id), viewer.actor)
        return _back_to(row)

    return routes


def _by_id(session: Session, agent_id: str) -> tuple[Agent, str]:
    """Raises Unknown, also for a name: a page has one address."""
    row, tenant_name = find_agent(session, agent_id)
    if row.id != agent_id:
        raise Unknown("agent", agent_id)
    return row, tenant_name


def history_of(path: Path, agent: Agent) -> tuple[Reliability | None, list[Change] | None]:
    """None, None: the history cannot be read. Events are the newest first."""
    tenant_id, agent_id, now = TenantId(agent.tenant_id), AgentId(agent.id), unix_ms()
    try:
        reliability = read_reliability(path, tenant_id, agent_id, now)
        changes = read_changes(path, tenant_id, agent_id, Span(now - EVENTS_OF_MS, now))
    except sqlite3.Error as error:
        logger.warning("%s cannot be read: %s", path, error)
        return None, None
    return reliability, sorted(changes, key=lambda change: -change.at_unix_ms)[:MOST_EVENTS]


def _back_to(agent: Agent) -> Response:
    return RedirectResponse(f"{OPERATOR_HOME.path}/agents/{agent.id}", 303)
