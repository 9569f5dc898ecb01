"""Sessions: browsers that are signed in. A secret is 256 random bits, and kept as a SHA-256, like a key."""

import hashlib
import secrets
from dataclasses import dataclass

from sqlmodel import Session, col, select

from control_plane.access.audit import OPERATOR, audit
from control_plane.store import unix_ms
from control_plane.store.tables import Tenant, User, UserRole, WebSession

# A working day: then the password is asked for again.
LIFETIME_MS = 12 * 60 * 60 * 1000
MAX_SECRET_CHARACTERS = 128


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Whose session it is. None everywhere but for `is_operator`: the operator's."""

    user_id: str | None
    email: str | None
    tenant_id: str | None
    tenant_name: str | None
    is_admin: bool
    is_operator: bool

    @property
    def actor(self) -> str:
        """As the audit trail names it."""
        return self.user_id or OPERATOR


def start_session(session: Session, *, user: User | None, operator_tag: bytes | None) -> str:
    """Its secret, for the browser's cookie alone. Of a user, or else of the operator's token."""
    secret, now = secrets.token_urlsafe(32), unix_ms()
    session.add(
        WebSession(
            secret_sha256=_digest(secret),
            user_id=user.id if user else None,
            operator_tag=None if user else operator_tag,
            created_unix_ms=now,
            expires_unix_ms=now + LIFETIME_MS,
        )
    )
    actor = user.id if user else OPERATOR
    tenant_id = user.tenant_id if user else None
    audit(session, actor=actor, action="session.started", subject=actor, tenant_id=tenant_id)
    return secret


def find_session(session: Session, secret: str, operator_tag: bytes) -> SignedIn | None:
    """None where it is none, or ended: by its time, by hand, with its user or with the operator's token."""
    if len(secret) > MAX_SECRET_CHARACTERS:
        return None
    row = session.get(WebSession, _digest(secret))
    if row is None or row.ended_unix_ms is not None or row.expires_unix_ms <= unix_ms():
        return None
    if row.user_id is None:
        good = row.operator_tag == operator_tag
        return SignedIn(None, None, None, None, is_admin=True, is_operator=True) if good else None
    found = session.exec(
        select(User, Tenant.name)
        .join(Tenant, col(Tenant.id) == col(User.tenant_id))
        .where(col(User.id) == row.user_id, col(User.removed_unix_ms).is_(None))
    ).first()
    if found is None:
        return None
    user, tenant_name = found
    is_admin = user.role == UserRole.ADMIN
    return SignedIn(user.id, user.email, user.tenant_id, tenant_name, is_admin=is_admin, is_operator=False)


def end_session(session: Session, secret: str, *, actor: str) -> None:
    """Again, or of none: nothing."""
    row = session.get(WebSession, _digest(secret[:MAX_SECRET_CHARACTERS]))
    if row is not None and row.ended_unix_ms is None:
        row.ended_unix_ms = unix_ms()
        session.add(row)
        user = session.get(User, row.user_id) if row.user_id is not None else None
        tenant_id = user.tenant_id if user else None
        audit(session, actor=actor, action="session.ended", subject=actor, tenant_id=tenant_id)


def end_sessions(session: Session, user_id: str) -> None:
    """All of a user's."""
    query = select(WebSession).where(WebSession.user_id == user_id, col(WebSession.ended_unix_ms).is_(None))
    for row in session.exec(query):
        row.ended_unix_ms = unix_ms()
        session.add(row)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
