"""The "Calls" pages: a tenant's calls to search through, and all of one. Never what was said in them."""

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from sqlmodel import Session

from control_plane.access import list_keys
from control_plane.api import CallResponse, Form, as_wanted, list_calls
from control_plane.console.call_queries import as_rows, whole_call
from control_plane.console.call_search import search_of, wanted_of
from control_plane.console.door import Door
from control_plane.console.pages import CALLS
from control_plane.console.rendering import Rendering
from control_plane.store import unix_ms
from control_plane.store.tables import CallOutcome, Tier

if TYPE_CHECKING:
    from control_plane.console.console import ConsoleParts

PAGE_ROWS = 50


def call_routes(parts: "ConsoleParts", door: Door, rendering: Rendering) -> APIRouter:
    routes = APIRouter()

    @routes.get(CALLS.path)
    async def page(request: Request) -> Response:
        viewer = await door.viewer(request, CALLS)
        wanted = wanted_of(request.query_params)
        search = search_of(wanted, viewer.tenant_id, now_unix_ms=unix_ms())

        def query(session: Session) -> dict[str, Any]:
            keys = list_keys(session, tenant_id=viewer.tenant_id)
            rows = list_calls(session, search, before=wanted.before or None, limit=PAGE_ROWS + 1)
            return {"keys": keys, "key_names": {key.id: key.name for key in keys}, "rows": rows}

        values = await parts.store.read(query)
        rows = values.pop("rows")
        shown = rows[:PAGE_ROWS]
        return rendering.page(
            viewer,
            CALLS,
            "calls.html",
            **values,
            rows=shown,
            wanted=wanted,
            tiers=list(Tier),
            outcomes=list(CallOutcome),
            older=wanted.address(CALLS.path, before=shown[-1].call.id) if len(rows) > PAGE_ROWS else None,
            newest=wanted.address(CALLS.path) if wanted.before else None,
            file=wanted.address(f"{CALLS.path}.csv"),
        )

    @routes.get(f"{CALLS.path}.csv")
    async def file(request: Request) -> Response:
        viewer = await door.viewer(request, CALLS)
        search = search_of(wanted_of(request.query_params), viewer.tenant_id, now_unix_ms=unix_ms())
        rows = await parts.store.read(lambda session: as_rows(session, viewer.tenant_id, search))
        answer = as_wanted(rows, CallResponse, Form.CSV, "calls")
        assert isinstance(answer, Response)  # noqa: S101 - the form was asked for
        return answer

    @routes.get(f"{CALLS.path}/{{call_id}}")
    async def call(request: Request, call_id: str) -> Response:
        viewer = await door.viewer(request, CALLS)
        found = await parts.store.read(lambda session: whole_call(session, viewer.tenant_id, call_id))
        return rendering.page(viewer, CALLS, "call.html", found=found, call=found.row.call)

    return routes
