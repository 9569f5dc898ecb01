"""The pages of one card's host for the admins of its tenant: diagnostics and load tests, live."""

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse, RedirectResponse
from sqlmodel import Session

from control_plane.access import Duplicate
from control_plane.api import RunResponse, load_test_csv
from control_plane.console.card_queries import (
    MOST_RUNS,
    load_test_of,
    load_tests_of,
    names_of,
    running_test_of,
)
from control_plane.console.curve import curve
from control_plane.console.door import Door, Refused
from control_plane.console.feed import Feeds, Parts, Render
from control_plane.console.live import live_answer
from control_plane.console.pages import DIAGNOSTICS, LOAD_TESTS, Page
from control_plane.console.queries import agent_of
from control_plane.console.rendering import Rendering
from control_plane.fleet.diagnostics import list_runs
from control_plane.fleet.load_test import Sweep
from control_plane.identifiers import AgentId, TenantId
from control_plane.store.tables import Agent

if TYPE_CHECKING:
    from control_plane.console.console import ConsoleParts

_DEFAULT = Sweep()


def card_routes(parts: "ConsoleParts", door: Door, rendering: Rendering, feeds: Feeds) -> APIRouter:
    routes = APIRouter()
    card = CardParts(parts, rendering)
    store = parts.store

    async def shown(request: Request, page: Page, agent: str, template: str, **values: Any) -> Response:
        viewer = await door.viewer(request, page)
        row = await card.find(viewer.tenant_id, agent)
        live = await card.renderer(page, viewer.tenant_id, agent)()
        return rendering.page(viewer, page, template, agent=row, live=live, **values)

    async def followed(request: Request, page: Page, agent: str) -> Response:
        viewer = await door.viewer(request, page)
        # A foreign agent is a 404 before the stream begins.
        await card.find(viewer.tenant_id, agent)
        render = card.renderer(page, viewer.tenant_id, agent)
        key = (page.path, viewer.tenant_id, agent)
        return live_answer(request, viewer, door, feeds, page, key, render)

    @routes.get(DIAGNOSTICS.path)
    async def diagnostics(request: Request, agent: str) -> Response:
        return await shown(request, DIAGNOSTICS, agent, "card/diagnostics.html")

    @routes.get("/console/live/cards/{agent}/diagnostics")
    async def live_diagnostics(request: Request, agent: str) -> Response:
        return await followed(request, DIAGNOSTICS, agent)

    @routes.post(DIAGNOSTICS.path)
    async def look_over(request: Request, agent: str) -> Response:
        viewer, _ = await door.change(request, DIAGNOSTICS)
        row = await card.find(viewer.tenant_id, agent)
        # Where one runs already, that is what the page shows.
        with suppress(Duplicate):
            await parts.diagnostics.start(AgentId(row.id), viewer.actor)
        return RedirectResponse(_at(DIAGNOSTICS, row), 303)

    @routes.get(LOAD_TESTS.path)
    async def load_tests(request: Request, agent: str) -> Response:
        viewer = await door.viewer(request, LOAD_TESTS)
        running = await store.read(lambda session: running_test_of(session, viewer.tenant_id, agent))
        return await shown(
            request, LOAD_TESTS, agent, "card/load_tests.html", sweep=_DEFAULT, running=running is not None
        )

    @routes.get("/console/live/cards/{agent}/load-tests")
    async def live_load_tests(request: Request, agent: str) -> Response:
        return await followed(request, LOAD_TESTS, agent)

    @routes.post(LOAD_TESTS.path)
    async def load(request: Request, agent: str) -> Response:
        viewer, form = await door.change(request, LOAD_TESTS)
        row = await card.find(viewer.tenant_id, agent)
        await parts.load_tests.start(AgentId(row.id), _sweep(form), viewer.actor)
        return RedirectResponse(_at(LOAD_TESTS, row), 303)

    @routes.post("/console/cards/{agent}/load-tests/stop")
    async def stop(request: Request, agent: str) -> Response:
        viewer, _ = await door.change(request, LOAD_TESTS)
        row = await card.find(viewer.tenant_id, agent)
        test_id = await store.read(lambda session: running_test_of(session, viewer.tenant_id, row.id))
        # Where none runs, the page shows how the last one ended.
        if test_id is not None:
            await parts.load_tests.cancel(test_id, viewer.actor)
        return RedirectResponse(_at(LOAD_TESTS, row), 303)

    @routes.get("/console/load-tests/{test_id}/csv")
    async def as_csv(request: Request, test_id: str) -> Response:
        viewer = await door.viewer(request, LOAD_TESTS)
        found = await store.read(lambda session: load_test_of(session, viewer.tenant_id, test_id))
        name = f'attachment; filename="load-test-{found.row.id}.csv"'
        return PlainTextResponse(
            load_test_csv(found), media_type="text/csv", headers={"content-disposition": name}
        )

    return routes


class CardParts:
    """What is live on these pages: read and rendered, for the page and for its feed."""

    def __init__(self, parts: "ConsoleParts", rendering: Rendering) -> None:
        self._parts = parts
        self._rendering = rendering

    async def find(self, tenant_id: TenantId, agent_id: str) -> Agent:
        """Raises Unknown, also for another tenant's."""
        return await self._parts.store.read(lambda session: agent_of(session, tenant_id, agent_id))

    def renderer(self, page: Page, tenant_id: TenantId, agent_id: str) -> Render:
        render = self._diagnostics if page is DIAGNOSTICS else self._load_tests
        return lambda: render(tenant_id, agent_id)

    async def _diagnostics(self, tenant_id: TenantId, agent_id: str) -> Parts:
        def query(session: Session) -> dict[str, Any]:
            row = agent_of(session, tenant_id, agent_id)
            runs = [run for run in list_runs(session, row.id, MOST_RUNS) if run.row.tenant_id == tenant_id]
            return {
                "runs": [
                    RunResponse.of(run, self._parts.diagnostics.check_under_way(run.row.id)) for run in runs
                ],
                "names": names_of(session, tenant_id),
            }

        values = await self._parts.store.read(query)
        return {"runs": self._rendering.part("card/runs.html", **values)}

    async def _load_tests(self, tenant_id: TenantId, agent_id: str) -> Parts:
        def query(session: Session) -> dict[str, Any]:
            row = agent_of(session, tenant_id, agent_id)
            return {"found": load_tests_of(session, tenant_id, row), "names": names_of(session, tenant_id)}

        values = await self._parts.store.read(query)
        found = values["found"]
        newest = found.tests[0] if found.tests else None
        drawn = (
            curve(newest.steps, newest.knee_concurrency, found.earlier.steps if found.earlier else ())
            if newest
            else None
        )
        return {"tests": self._rendering.part("card/tests.html", newest=newest, curve=drawn, **values)}


def _at(page: Page, row: Agent) -> str:
    return page.path.format(agent=row.id)


def _sweep(form: Any) -> Sweep:
    """Raises Refused for what is no number; the caps are the load test's own."""
    try:
        return Sweep(
            concurrencies=tuple(int(each) for each in form.get("concurrencies", "").split(",")),
            input_tokens=int(form.get("input_tokens", "")),
            output_tokens=int(form.get("output_tokens", "")),
        )
    except ValueError:
        raise Refused(
            422, "Calls at once are whole numbers with commas between, tokens are whole numbers."
        ) from None
