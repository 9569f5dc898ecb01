"""REST: the record of calls, and why each went where it did."""

import json
from typing import Annotated, Any, Self

from fastapi import APIRouter, Query
from fastapi import Response as HttpResponse
from pydantic import Field
from sqlmodel import Session

from control_plane.access import find_tenant
from control_plane.api.csv_table import Form, as_wanted
from control_plane.api.queries import (
    MAX_CALLS,
    CallRow,
    CallSearch,
    attempts_of,
    find_call,
    list_calls,
)
from control_plane.api.schemas import Request, Response
from control_plane.economy import span_of_days
from control_plane.store import Store, unix_ms
from control_plane.store.tables import Attempt, CallOutcome, Tier


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


class CallsRequest(Request):
    tenant: str | None = None
    since: str | None = None
    until: str | None = None
    model: str | None = None
    # A key's id.
    key: str | None = None
    tier: Tier | None = None
    outcome: CallOutcome | None = None
    status: int | None = None
    # The beginning of a call's id.
    starts: str | None = None
    before: str | None = None
    limit: int = Field(default=50, ge=1, le=MAX_CALLS)
    form: Form = Form.JSON

    def search(self, session: Session) -> CallSearch:
        """Raises Unknown, and Invalid for what is no range of days."""
        ranged = self.since is not None or self.until is not None
        return CallSearch(
            tenant_id=None if self.tenant is None else find_tenant(session, self.tenant).id,
            span=span_of_days(self.since, self.until, now_unix_ms=unix_ms()) if ranged else None,
            model=self.model,
            api_key_id=self.key,
            tier=self.tier,
            outcome=self.outcome,
            http_status=self.status,
            id_starts=self.starts,
        )


def call_routes(store: Store) -> APIRouter:
    routes = APIRouter()

    @routes.get("/calls", response_model=list[CallResponse])
    async def calls(
        wanted: Annotated[CallsRequest, Query()],
    ) -> list[CallResponse] | HttpResponse:
        """Calls, the newest first. `since` and `until` are UTC days, both inclusive."""
        rows = await store.read(
            lambda session: list_calls(
                session, wanted.search(session), before=wanted.before, limit=wanted.limit
            )
        )
        return as_wanted([CallResponse.of(found) for found in rows], CallResponse, wanted.form, "calls")

    @routes.get("/calls/{call_id}")
    async def call(call_id: str) -> CallDetail:
        """One call: what was decided, what was left out and why, and every attempt."""

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
