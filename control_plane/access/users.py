"""Users: the people of a tenant."""

from sqlmodel import Session, col, select

from control_plane.access.audit import audit
from control_plane.access.conditions import Duplicate
from control_plane.access.names import check_email
from control_plane.identifiers import new_user_id
from control_plane.store import unix_ms
from control_plane.store.tables import Tenant, User, UserRole


def create_user(session: Session, *, tenant: Tenant, email: str, role: UserRole, actor: str) -> User:
    """Raises Invalid, or Duplicate where the tenant has a user of that address."""
    email = check_email(email)
    taken = select(User.id).where(User.tenant_id == tenant.id, User.email == email)
    if session.exec(taken).first():
        raise Duplicate(f"{tenant.name} has a user {email} already")
    user = User(
        id=new_user_id(), tenant_id=tenant.id, email=email, role=role.value, created_unix_ms=unix_ms()
    )
    session.add(user)
    detail = {"email": email, "role": role.value}
    audit(session, actor=actor, action="user.created", subject=user.id, tenant_id=tenant.id, detail=detail)
    return user


def list_users(session: Session, tenant_id: str | None = None) -> list[User]:
    """Of one tenant, or of all."""
    query = select(User).order_by(col(User.tenant_id), col(User.email))
    if tenant_id is not None:
        query = query.where(User.tenant_id == tenant_id)
    return list(session.exec(query))
