"""/metrics, for Prometheus: the operator's token reads everything, a tenant's key reads what is its own."""

import asyncio

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from sqlmodel import Session

from control_plane.access import AccessIndex, OperatorToken, list_tenants
from control_plane.api.bearer import presented_bearer
from control_plane.api.errors import error_body
from control_plane.identifiers import TenantId
from control_plane.metrics import OPERATORS, MetricsParts, Scope, look, render
from control_plane.store import Store

_UNAUTHORIZED = (
    "present the operator's token, or a tenant's API key for its own series: Authorization: Bearer …"
)


def metrics_routes(store: Store, token: OperatorToken, access: AccessIndex, parts: MetricsParts) -> APIRouter:
    routes = APIRouter()

    @routes.get("/metrics")
    async def metrics(request: Request) -> Response:
        """For Prometheus: everything with the operator's token, a tenant's own with a key of it."""
        scope = _scope(request, token, access)
        if scope is None:
            headers = {"www-authenticate": "Bearer"}
            return JSONResponse(error_body("unauthorized", _UNAUTHORIZED), 401, headers)
        tenants = await store.read(_names)
        looked = look(parts, scope, tenants)
        text, content_type = await asyncio.to_thread(render, looked, request.headers.get("accept", ""))
        return Response(text, headers={"content-type": content_type})

    return routes


def _scope(request: Request, token: OperatorToken, access: AccessIndex) -> Scope | None:
    """None: nobody's that is known."""
    presented = presented_bearer(request)
    if presented is None:
        return None
    if token.matches(presented):
        return OPERATORS
    principal = access.authenticate(presented)
    return None if principal is None else Scope(principal.tenant_id)


def _names(session: Session) -> dict[TenantId, str]:
    return {TenantId(tenant.id): tenant.name for tenant in list_tenants(session)}
