"""Users: the people of a tenant."""

from sqlmodel import Session, col, select

from control_plane.access.audit import audit
from control_plane.access.conditions import Duplicate, Unknown
from control_plane.access.names import check_email
from control_plane.access.sessions import end_sessions
from control_plane.identifiers import new_user_id
from control_plane.store import unix_ms
from control_plane.store.tables import Tenant, User, UserRole


def create_user(session: Session, *, tenant: Tenant, email: str, role: UserRole, actor: str) -> User:
    """Raises Invalid, or Duplicate where the tenant has a user of that address. One that was removed comes
    back as the same user, without a password."""
    email = check_email(email)
    user = session.exec(select(User).where(User.tenant_id == tenant.id, User.email == email)).first()
    if user is not None and user.removed_unix_ms is None:
        raise Duplicate(f"{tenant.name} has a user {email} already")
    if user is None:
        user = User(
            id=new_user_id(), tenant_id=tenant.id, email=email, role=role.value, created_unix_ms=unix_ms()
        )
    user.role, user.removed_unix_ms = role.value, None
    session.add(user)
    detail = {"email": email, "role": role.value}
    audit(session, actor=actor, action="user.created", subject=user.id, tenant_id=tenant.id, detail=detail)
    return user


def find_user(session: Session, user_id: str) -> User:
    """Raises Unknown, also of one that was removed."""
    user = session.get(User, user_id)
    if user is None or user.removed_unix_ms is not None:
        raise Unknown("user", user_id)
    return user


def remove_user(session: Session, *, user_id: str, actor: str) -> User:
    """At once: its sessions and its link are good for nothing from here on. Raises Unknown."""
    user = find_user(session, user_id)
    user.removed_unix_ms = unix_ms()
    user.password_hash = user.link_sha256 = user.link_expires_unix_ms = None
    session.add(user)
    end_sessions(session, user.id)
    audit(session, actor=actor, action="user.removed", subject=user.id, tenant_id=user.tenant_id)
    return user


def list_users(session: Session, tenant_id: str | None = None) -> list[User]:
    """Of one tenant, or of all; not those that were removed."""
    query = (
        select(User).where(col(User.removed_unix_ms).is_(None)).order_by(col(User.tenant_id), col(User.email))
    )
    if tenant_id is not None:
        query = query.where(User.tenant_id == tenant_id)
    return list(session.exec(query))
