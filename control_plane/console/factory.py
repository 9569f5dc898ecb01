"""The "AI Factory" page: what a tenant's role entitles it to see of cards, pools and calls, live."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from sqlmodel import Session

from control_plane.api import Change
from control_plane.console.door import Door, Refused
from control_plane.console.factory_parts import RANGES_MS, FactoryParts, Wish
from control_plane.console.feed import Feeds
from control_plane.console.live import live_answer
from control_plane.console.pages import FACTORY
from control_plane.console.queries import agent_of
from control_plane.console.rendering import Rendering
from control_plane.console.viewer import Viewer
from control_plane.economy import contribute, find_pool, withdraw
from control_plane.fleet import PoolLimits, Window
from control_plane.identifiers import AgentId
from control_plane.install import Installation
from control_plane.store.economy_tables import PoolKind
from control_plane.store.tables import Agent

if TYPE_CHECKING:
    from control_plane.console.console import ConsoleParts

Range = Annotated[str, Query(alias="range")]


def factory_routes(
    parts: "ConsoleParts", door: Door, rendering: Rendering, feeds: Feeds, change: Change
) -> APIRouter:
    routes = APIRouter()
    factory = FactoryParts(parts, door, rendering)
    store, fleet = parts.store, parts.fleet

    @routes.get(FACTORY.path)
    async def page(request: Request, agent: str = "", span: Range = "1h") -> Response:
        viewer = await door.anyone(request)
        if viewer.is_operator:
            return RedirectResponse("/console/operator", 303)
        wish = _wish(agent, span)
        shown = await factory.page(viewer, wish)
        return rendering.page(viewer, FACTORY, "factory.html", **shown)

    @routes.get("/console/live/factory")
    async def live(request: Request, agent: str = "", span: Range = "1h") -> Response:
        viewer = await door.viewer(request, FACTORY)
        wish = _wish(agent, span)
        # A foreign agent is a 404 before the stream begins.
        await factory.find(viewer.tenant_id, wish)

        key = ("factory", viewer.tenant_id, wish.agent_id, wish.span)
        render = factory.renderer(viewer.tenant_id, wish)
        return live_answer(request, viewer, door, feeds, FACTORY, key, render)

    @routes.post("/console/factory/invite")
    async def invite(request: Request) -> Response:
        viewer, _ = await door.change(request, FACTORY)
        text, expires_unix_ms = await parts.create_invite(viewer.tenant_id, viewer.actor)
        return rendering.page(
            viewer,
            FACTORY,
            "invite.html",
            line=_line(parts.installation, text),
            needs_installer=parts.installation is None,
            expires_unix_ms=expires_unix_ms,
        )

    async def named(viewer: Viewer, form: Mapping[str, str]) -> Agent:
        """The agent of the viewer's tenant that a form names. Raises Unknown."""
        return await store.read(lambda session: agent_of(session, viewer.tenant_id, form.get("agent", "")))

    @routes.post("/console/factory/deploy")
    async def deploy(request: Request) -> Response:
        viewer, form = await door.change(request, FACTORY)
        row = await named(viewer, form)
        # No model: the engine is stopped.
        await fleet.deploy(AgentId(row.id), form.get("model") or None, viewer.actor)
        return _back_to(row.id)

    @routes.post("/console/factory/halt")
    async def halt(request: Request) -> Response:
        """Drains it, or pauses its work for pools, or ends that: wanted at once, done as the fleet says."""
        viewer, form = await door.change(request, FACTORY)
        row = await named(viewer, form)
        agent_id, what = AgentId(row.id), form.get("what", "")
        if what in ("drain", "resume"):
            await fleet.set_drained(agent_id, viewer.actor, drained=what == "drain")
        elif what in ("pause-pool", "resume-pool"):
            await fleet.set_pool_paused(agent_id, viewer.actor, paused=what == "pause-pool")
        else:
            raise Refused(422, "What is wanted is one of drain, resume, pause-pool, resume-pool.")
        return _back_to(row.id)

    @routes.post("/console/factory/limits")
    async def limit(request: Request) -> Response:
        """When and how hot its cards may work for pools: the form's values in place of what was."""
        viewer, form = await door.change(request, FACTORY)
        row = await named(viewer, form)
        celsius, watts = _whole(form, "max_celsius"), _whole(form, "max_watts")
        hours = [line for line in form.get("hours", "").splitlines() if line.strip()]
        await fleet.set_pool_limits(
            AgentId(row.id),
            lambda _: PoolLimits(
                tuple(map(Window.parse, hours)), form.get("zone", "").strip() or None, celsius, watts
            ),
            viewer.actor,
        )
        return _back_to(row.id)

    @routes.post("/console/factory/contribute")
    async def lend(request: Request) -> Response:
        viewer, form = await door.change(request, FACTORY)
        agent_id = form.get("agent", "")

        def unit(session: Session) -> None:
            row = agent_of(session, viewer.tenant_id, agent_id)
            pool = find_pool(session, form.get("pool", ""))
            if pool.kind != PoolKind.PROVIDER:
                raise Refused(409, "Cards are lent to provider pools.")
            contribute(session, agent=row, pool=pool, actor=viewer.actor)

        await change(unit)
        return _back_to(agent_id)

    @routes.post("/console/factory/withdraw")
    async def take_back(request: Request) -> Response:
        viewer, form = await door.change(request, FACTORY)
        agent_id = form.get("agent", "")

        def unit(session: Session) -> None:
            withdraw(session, agent=agent_of(session, viewer.tenant_id, agent_id), actor=viewer.actor)

        await change(unit)
        return _back_to(agent_id)

    return routes


def _whole(form: Mapping[str, str], name: str) -> int | None:
    """None where the field is empty. Raises Refused."""
    text = form.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 7):
        raise Refused(422, f"{name} is a whole number, or empty for no limit.")
    return int(text)


def _wish(agent_id: str, span: str) -> Wish:
    if span not in RANGES_MS:
        raise Refused(422, f"A range is one of {', '.join(RANGES_MS)}.")
    return Wish(agent_id, span)


def _line(installation: Installation | None, invite: str) -> str:
    """What the owner pastes on the host; where no installer is served, what an installed agent takes."""
    if installation is not None:
        return installation.line(invite)
    return f"sudo daalu-agent enrol {invite}"


def _back_to(agent_id: str) -> Response:
    return RedirectResponse(f"/console?agent={agent_id}", 303)
