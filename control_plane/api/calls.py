"""REST: the record of calls, and why each went where it did."""

import json
from typing import Annotated, Any, Self

from fastapi import APIRouter, Query
from sqlmodel import Session

from control_plane.access import find_tenant
from control_plane.api.queries import MAX_CALLS, CallRow, attempts_of, find_call, list_calls
from control_plane.api.schemas import Response
from control_plane.store import Store
from control_plane.store.tables import Attempt


class CallResponse(Response):
    id: str
    tenant_id: str
    tenant_name: str
    api_key_id: str
    purpose: str
    path: str
    model: str
    streamed: bool
    outcome: str
    tier: str | None
    agent_id: str | None
    agent_name: str | None
    prompt_tokens: int
    completion_tokens: int
    started_unix_ms: int
    first_token_ms: float | None
    duration_ms: float | None
    http_status: int | None
    error_code: str | None
    # Of a call that was settled; None before, and where nothing was delivered.
    pool_name: str | None
    vendor: str | None
    charge_pico_usd: int | None
    credit_pico_usd: int | None

    @classmethod
    def of(cls, row: CallRow) -> Self:
        return cls(**_fields(row))


class AttemptResponse(Response):
    id: str
    number: int
    tier: str
    # None where a vendor served it.
    agent_id: str | None
    agent_name: str | None
    outcome: str
    error: str | None
    prompt_tokens: int
    completion_tokens: int
    started_unix_ms: int
    ended_unix_ms: int | None

    @classmethod
    def of(cls, row: Attempt, agent_name: str | None) -> Self:
        return cls(
            id=row.id,
            number=row.number,
            tier=row.tier,
            agent_id=row.agent_id,
            agent_name=agent_name,
            outcome=row.outcome,
            error=row.error,
            prompt_tokens=row.prompt_tokens,
            completion_tokens=row.completion_tokens,
            started_unix_ms=row.started_unix_ms,
            ended_unix_ms=row.ended_unix_ms,
        )


class CallDetail(CallResponse):
    key_name: str | None
    key_hint: str | None
    # As recorded with the call: candidates, what was left out and why, attempts.
    decision: dict[str, Any]
    attempts: list[AttemptResponse]


def call_routes(store: Store) -> APIRouter:
    routes = APIRouter()

    @routes.get("/calls")
    async def calls(
        tenant: str | None = None,
        before: str | None = None,
        limit: Annotated[int, Query(ge=1, le=MAX_CALLS)] = 50,
    ) -> list[CallResponse]:
        def query(session: Session) -> list[CallRow]:
            tenant_id = None if tenant is None else find_tenant(session, tenant).id
            return list_calls(session, tenant_id=tenant_id, before=before, limit=limit)

        return [CallResponse.of(found) for found in await store.read(query)]

    @routes.get("/calls/{call_id}")
    async def call(call_id: str) -> CallDetail:
        def query(session: Session) -> CallDetail:
            row, key = find_call(session, call_id)
            return CallDetail(
                **_fields(row),
                key_name=key.name if key else None,
                key_hint=key.hint if key else None,
                decision=json.loads(row.call.decision),
                attempts=[AttemptResponse.of(*found) for found in attempts_of(session, call_id)],
            )

        return await store.read(query)

    return routes


def _fields(row: CallRow) -> dict[str, Any]:
    usage = row.usage
    joined = {
        "tenant_name": row.tenant_name,
        "agent_name": row.agent_name,
        "pool_name": row.pool_name,
        "vendor": usage.vendor if usage else None,
        "charge_pico_usd": usage.charge_pico_usd if usage else None,
        "credit_pico_usd": usage.credit_pico_usd if usage else None,
    }
    names = CallResponse.model_fields.keys() - joined.keys()
    return {name: getattr(row.call, name) for name in names} | joined
