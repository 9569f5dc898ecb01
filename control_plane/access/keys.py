"""API keys: made here, shown once, kept as a SHA-256.

A key is 256 random bits, so that a plain hash of it is as good as a slow one: there is nothing to guess.
"""

import hashlib
import secrets
from dataclasses import dataclass, field

from sqlmodel import Session, col, select

from control_plane.access.audit import audit
from control_plane.access.conditions import Unknown
from control_plane.access.names import check_name
from control_plane.identifiers import AgentId, new_api_key_id
from control_plane.store import announce, unix_ms
from control_plane.store.tables import ApiKey, ChangeKind, Purpose, Tenant

PREFIX = "dk-"
# Nothing longer is looked at.
MAX_KEY_CHARACTERS = 128
_HINT_CHARACTERS = len(PREFIX) + 5


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key and the only copy of its text that will ever be."""

    row: ApiKey
    text: str = field(repr=False)


def hash_key(text: str) -> bytes:
    """The 32 bytes that are stored of a key."""
    return hashlib.sha256(text.encode()).digest()


@dataclass(frozen=True, slots=True)
class Temporary:
    """What binds a key that a program of the control plane's own uses for a while."""

    expires_unix_ms: int
    # The tenant's own card that its calls go to, and nowhere else.
    only_agent_id: AgentId


def create_key(
    session: Session,
    *,
    tenant: Tenant,
    name: str,
    purpose: Purpose,
    actor: str,
    temporary: Temporary | None = None,
) -> NewKey:
    """Raises Invalid. Names need not be unique: they are for people."""
    check_name("key", name)
    text = PREFIX + secrets.token_urlsafe(32)
    row = ApiKey(
        id=new_api_key_id(),
        tenant_id=tenant.id,
        name=name,
        hint=text[:_HINT_CHARACTERS],
        hash_sha256=hash_key(text),
        purpose=purpose.value,
        created_unix_ms=unix_ms(),
        expires_unix_ms=temporary.expires_unix_ms if temporary is not None else None,
        only_agent_id=temporary.only_agent_id if temporary is not None else None,
    )
    session.add(row)
    detail = {"name": name, "purpose": purpose.value, "hint": row.hint}
    audit(session, actor=actor, action="key.created", subject=row.id, tenant_id=tenant.id, detail=detail)
    announce(session, ChangeKind.ACCESS, row.id)
    return NewKey(row, text)


def extend_key(session: Session, *, key_id: str, expires_unix_ms: int) -> None:
    """Moves the end of a temporary key; one that was revoked stays so. Raises Unknown."""
    row = session.get(ApiKey, key_id)
    if row is None or row.expires_unix_ms is None:
        raise Unknown("temporary key", key_id)
    row.expires_unix_ms = expires_unix_ms
    session.add(row)
    announce(session, ChangeKind.ACCESS, row.id)


def revoke_key(session: Session, *, key_id: str, actor: str) -> ApiKey:
    """Raises Unknown. A key that was revoked before stays as it is."""
    row = session.get(ApiKey, key_id)
    if row is None:
        raise Unknown("key", key_id)
    if row.revoked_unix_ms is None:
        row.revoked_unix_ms = unix_ms()
        session.add(row)
        audit(session, actor=actor, action="key.revoked", subject=row.id, tenant_id=row.tenant_id)
        announce(session, ChangeKind.ACCESS, row.id)
    return row


def list_keys(session: Session, tenant_id: str | None = None) -> list[ApiKey]:
    """Of one tenant, or of all; revoked ones too."""
    query = select(ApiKey).order_by(col(ApiKey.tenant_id), col(ApiKey.id))
    if tenant_id is not None:
        query = query.where(ApiKey.tenant_id == tenant_id)
    return list(session.exec(query))
