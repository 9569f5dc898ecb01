"""The audit trail as it is read: the newest first, in pages, of everybody or of one tenant."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session, and_, col, or_, select

from control_plane.store.tables import Agent, Audit, Tenant, User

# On one page.
MOST_ENTRIES = 500
MOST_FILTER_CHARACTERS = 254


@dataclass(frozen=True, slots=True)
class AuditSearch:
    """Which entries; None: any.

    `actor` is an id, "operator", or a user's e-mail address. `action` is one action, such as "key.revoked",
    or what stands before its dot, for all of that kind. From `since_unix_ms` on, before `until_unix_ms`.
    """

    tenant_id: str | None = None
    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    since_unix_ms: int | None = None
    until_unix_ms: int | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """`id` grows with every entry. `actor_name`: the address or the name of who is of the entry's tenant;
    None: "operator", a part of the control plane, or nobody that is known. `tenant_id`: None where what
    changed is no tenant's."""

    id: int
    at_unix_ms: int
    tenant_id: str | None
    tenant_name: str | None
    actor: str
    actor_name: str | None
    action: str
    subject: str
    detail: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class AuditPage:
    """`next_before`: what the page of the older ones begins before; None: there are none."""

    entries: tuple[AuditEntry, ...]
    next_before: int | None


def read_trail(session: Session, search: AuditSearch, *, before: int | None, limit: int) -> AuditPage:
    """The newest first, at most `limit`, 1 to MOST_ENTRIES. `before`: only entries older than this id."""
    query = (
        _entries()
        .order_by(col(Audit.id).desc())
        # One more than is shown tells whether there are older ones.
        .limit(limit + 1)
    )
    for column, value in ((col(Audit.tenant_id), search.tenant_id), (col(Audit.subject), search.subject)):
        if value is not None:
            query = query.where(column == value)
    if search.actor is not None:
        named = and_(col(User.email) == search.actor.lower(), col(User.id) == col(Audit.actor))
        query = query.where(or_(col(Audit.actor) == search.actor, named))
    if search.action is not None:
        of_kind = col(Audit.action).startswith(f"{search.action}.", autoescape=True)
        query = query.where(or_(col(Audit.action) == search.action, of_kind))
    if search.since_unix_ms is not None:
        query = query.where(col(Audit.at_unix_ms) >= search.since_unix_ms)
    if search.until_unix_ms is not None:
        query = query.where(col(Audit.at_unix_ms) < search.until_unix_ms)
    if before is not None:
        query = query.where(col(Audit.id) < before)
    rows = [_entry(*row) for row in session.exec(query)]
    shown = tuple(rows[:limit])
    return AuditPage(shown, shown[-1].id if len(rows) > limit else None)


def _entries() -> Any:
    # Names only of who belongs to the entry's own tenant: whoever may read the entry may know them.
    return (
        select(Audit, Tenant.name, User.email, Agent.name)
        .join(Tenant, col(Tenant.id) == col(Audit.tenant_id), isouter=True)
        .join(
            User,
            and_(col(User.id) == col(Audit.actor), col(User.tenant_id) == col(Audit.tenant_id)),
            isouter=True,
        )
        .join(
            Agent,
            and_(col(Agent.id) == col(Audit.actor), col(Agent.tenant_id) == col(Audit.tenant_id)),
            isouter=True,
        )
    )


def _entry(row: Audit, tenant_name: str | None, email: str | None, agent_name: str | None) -> AuditEntry:
    return AuditEntry(
        id=row.id or 0,
        at_unix_ms=row.at_unix_ms,
        tenant_id=row.tenant_id,
        tenant_name=tenant_name,
        actor=row.actor,
        actor_name=email or agent_name,
        action=row.action,
        subject=row.subject,
        detail=json.loads(row.detail),
    )
