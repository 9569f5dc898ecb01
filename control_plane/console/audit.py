"""The audit trail: of all for the operator, of their own tenant for its admins; as pages and as JSON."""

from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from sqlmodel import Session

from control_plane.access import MOST_AUDIT_ENTRIES, AuditPage, Invalid, Unknown, list_tenants
from control_plane.api import AuditRequest, AuditResponse
from control_plane.console.door import Door
from control_plane.console.pages import AUDIT, OPERATOR_AUDIT, Page
from control_plane.console.rendering import Rendering
from control_plane.console.viewer import Viewer
from control_plane.store import Store

FILTERS = ("tenant", "actor", "action", "subject", "since", "until")


def audit_page_routes(store: Store, door: Door, rendering: Rendering) -> APIRouter:
    routes = APIRouter()

    async def found(viewer: Viewer, wanted: AuditRequest) -> AuditPage:
        # Of the operator the tenant is empty, and then the request's own word counts.
        tenant_id = None if viewer.is_operator else viewer.tenant_id
        return await store.read(lambda session: wanted.read(session, tenant_id=tenant_id))

    async def show(request: Request, page: Page) -> Response:
        viewer = await door.viewer(request, page)
        asked = {name: value for name, value in request.query_params.items() if value}
        error, entries, older = None, AuditPage((), None), None
        try:
            entries = await found(viewer, _wanted(asked))
        except (Invalid, Unknown) as problem:
            error = str(problem)
        if entries.next_before is not None:
            older = f"{page.path}?{urlencode(asked | {'before': entries.next_before})}"

        def names(session: Session) -> list[str]:
            return [tenant.name for tenant in list_tenants(session)]

        return rendering.page(
            viewer,
            page,
            "audit.html",
            status=422 if error else 200,
            error=error,
            entries=entries.entries,
            older=older,
            asked={name: asked.get(name, "") for name in FILTERS},
            is_filtered=bool(asked),
            tenants=await store.read(names) if viewer.is_operator else [],
            most=MOST_AUDIT_ENTRIES,
        )

    async def as_json(request: Request, page: Page) -> Response:
        viewer = await door.viewer(request, page)
        try:
            page_of = await found(viewer, _wanted(dict(request.query_params)))
        except (Invalid, Unknown) as problem:
            return JSONResponse({"error": {"code": "invalid", "message": str(problem)}}, 422)
        return JSONResponse(AuditResponse.of(page_of).model_dump())

    @routes.get(AUDIT.path)
    async def own(request: Request) -> Response:
        return await show(request, AUDIT)

    @routes.get(f"{AUDIT.path}.json")
    async def own_json(request: Request) -> Response:
        return await as_json(request, AUDIT)

    @routes.get(OPERATOR_AUDIT.path)
    async def everybodys(request: Request) -> Response:
        return await show(request, OPERATOR_AUDIT)

    return routes


def _wanted(asked: dict[str, Any]) -> AuditRequest:
    """Raises Invalid."""
    try:
        return AuditRequest(**asked)
    except ValidationError as error:
        first = error.errors()[0]
        raise Invalid(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from None
