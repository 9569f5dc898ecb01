"""REST: pins, by which an administrator says where a tenant's calls go."""

from fastapi import APIRouter
from sqlmodel import Session

from control_plane.access import OPERATOR, find_tenant
from control_plane.api.change import Change
from control_plane.api.economy_schemas import OfRow
from control_plane.api.queries import find_agent
from control_plane.api.schemas import Request
from control_plane.economy import NewPin, add_pin, end_pin, find_pool, list_pins
from control_plane.store import Store
from control_plane.store.tables import Purpose, Tier


class PinRequest(Request):
    tenant: str
    model: str | None = None
    purpose: Purpose | None = None
    tier: Tier
    pool: str | None = None
    agent: str | None = None


class PinResponse(OfRow):
    id: str
    tenant_id: str
    model: str | None
    purpose: Purpose | None
    tier: Tier
    pool_id: str | None
    agent_id: str | None
    created_unix_ms: int
    ended_unix_ms: int | None


def pin_routes(store: Store, change: Change) -> APIRouter:
    routes = APIRouter()

    @routes.get("/pins")
    async def pins(tenant: str | None = None) -> list[PinResponse]:
        """Pins that hold now."""

        def query(session: Session) -> list[PinResponse]:
            tenant_id = find_tenant(session, tenant).id if tenant is not None else None
            return [PinResponse.model_validate(row) for row in list_pins(session, tenant_id=tenant_id)]

        return await store.read(query)

    @routes.post("/pins", status_code=201)
    async def new_pin(wanted: PinRequest) -> PinResponse:
        """Pins a tenant's calls of a model, a purpose or both to one tier, pool or agent."""

        def unit(session: Session) -> PinResponse:
            new = NewPin(
                tenant=find_tenant(session, wanted.tenant),
                model=wanted.model,
                purpose=wanted.purpose,
                tier=wanted.tier,
                pool=find_pool(session, wanted.pool) if wanted.pool is not None else None,
                agent=find_agent(session, wanted.agent)[0] if wanted.agent is not None else None,
            )
            return PinResponse.model_validate(add_pin(session, new, actor=OPERATOR))

        return await change(unit)

    @routes.post("/pins/{pin_id}/end")
    async def unpin(pin_id: str) -> PinResponse:
        """Ends a pin at once."""
        row = await change(lambda session: end_pin(session, pin_id=pin_id, actor=OPERATOR))
        return PinResponse.model_validate(row)

    return routes
