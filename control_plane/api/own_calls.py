"""What a program may ask of its own calls, with the API key that made them."""

from typing import Self

from fastapi import APIRouter, Request
from fastapi import Response as HttpResponse
from fastapi.responses import JSONResponse

from control_plane.access import AccessIndex, Unknown
from control_plane.api.bearer import presented_bearer
from control_plane.api.errors import error_body
from control_plane.api.queries import CallRow, find_call
from control_plane.api.schemas import Response
from control_plane.store import Store

# Not under /api/, where every path wants the operator's token.
PATH = "/own/calls/{call_id}"
_UNAUTHORIZED = "present the API key that made the call: Authorization: Bearer …"


class OwnCallResponse(Response):
    """Nothing of the card that served it. `charge_pico_usd`: null before it is settled, or if nothing was."""

    id: str
    outcome: str
    model: str
    tier: str | None
    pool_name: str | None
    vendor: str | None
    prompt_tokens: int
    completion_tokens: int
    charge_pico_usd: int | None
    first_token_ms: float | None
    duration_ms: float | None
    error_code: str | None

    @classmethod
    def of(cls, row: CallRow) -> Self:
        call, usage = row.call, row.usage
        return cls(
            id=call.id,
            outcome=call.outcome,
            model=call.model,
            tier=call.tier,
            pool_name=row.pool_name,
            vendor=usage.vendor if usage else None,
            prompt_tokens=call.prompt_tokens,
            completion_tokens=call.completion_tokens,
            charge_pico_usd=usage.charge_pico_usd if usage else None,
            first_token_ms=call.first_token_ms,
            duration_ms=call.duration_ms,
            error_code=call.error_code,
        )


def own_call_routes(store: Store, access: AccessIndex) -> APIRouter:
    routes = APIRouter()

    @routes.get(PATH, response_model=OwnCallResponse)
    async def own_call(request: Request, call_id: str) -> OwnCallResponse | HttpResponse:
        """Where a call went, what it used and what it cost. Another key's is as unknown as none."""
        principal = access.authenticate(presented_bearer(request) or "")
        if principal is None:
            headers = {"www-authenticate": "Bearer"}
            return JSONResponse(error_body("unauthorized", _UNAUTHORIZED), 401, headers)
        row, key = await store.read(
            lambda session: find_call(session, call_id, tenant_id=principal.tenant_id)
        )
        if key is None or key.id != principal.api_key_id:
            raise Unknown("call", call_id)
        return OwnCallResponse.of(row)

    return routes
