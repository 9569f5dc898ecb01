"""REST: the audit trail, page by page. The operator's; a tenant's admin reads its own in the console."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Self

from fastapi import APIRouter, Query
from pydantic import Field
from sqlmodel import Session

from control_plane.access import (
    MOST_AUDIT_ENTRIES,
    MOST_AUDIT_FILTER_CHARACTERS,
    AuditPage,
    AuditSearch,
    find_tenant,
    read_trail,
)
from control_plane.api.schemas import Request, Response
from control_plane.economy import span_of_days
from control_plane.store import Store, unix_ms

# Of a column of 32 bits.
_MOST_ID = 2**31 - 1
Filter = Annotated[str | None, Field(max_length=MOST_AUDIT_FILTER_CHARACTERS)]


class AuditEntryResponse(Response):
    id: int
    at_unix_ms: int
    # None: what changed is no tenant's.
    tenant_id: str | None
    tenant_name: str | None
    # An id, "operator", or a part of the control plane.
    actor: str
    # A user's address or an agent's name.
    actor_name: str | None
    action: str
    # The id of what changed.
    subject: str
    detail: Mapping[str, object]


class AuditResponse(Response):
    """The newest first. `next_before`: ask for the older ones with it; null: there are none."""

    entries: list[AuditEntryResponse]
    next_before: int | None

    @classmethod
    def of(cls, page: AuditPage) -> Self:
        entries = [AuditEntryResponse(**asdict(entry)) for entry in page.entries]
        return cls(entries=entries, next_before=page.next_before)


class AuditRequest(Request):
    """`since` and `until` are UTC days, both inclusive; one without the other is as in /spend."""

    tenant: Filter = None
    actor: Filter = None
    action: Filter = None
    subject: Filter = None
    since: str | None = None
    until: str | None = None
    before: int | None = Field(default=None, ge=0, le=_MOST_ID)
    limit: int = Field(default=50, ge=1, le=MOST_AUDIT_ENTRIES)

    def read(self, session: Session, *, tenant_id: str | None = None) -> AuditPage:
        """`tenant_id`: of this tenant and no other, whatever the request names. Raises Unknown, and Invalid
        for what is no range of days."""
        if tenant_id is None and self.tenant is not None:
            tenant_id = find_tenant(session, self.tenant).id
        ranged = self.since is not None or self.until is not None
        span = span_of_days(self.since, self.until, now_unix_ms=unix_ms()) if ranged else None
        search = AuditSearch(
            tenant_id=tenant_id,
            actor=self.actor,
            action=self.action,
            subject=self.subject,
            since_unix_ms=span.since_unix_ms if span else None,
            until_unix_ms=span.until_unix_ms if span else None,
        )
        return read_trail(session, search, before=self.before, limit=self.limit)


def audit_routes(store: Store) -> APIRouter:
    routes = APIRouter()

    @routes.get("/audit")
    async def audit(wanted: Annotated[AuditRequest, Query()]) -> AuditResponse:
        """Who changed what, the newest first, in pages."""
        return AuditResponse.of(await store.read(wanted.read))

    return routes
