"""Tenants: customer organisations, known by a unique name."""

from sqlmodel import Session, col, or_, select

from control_plane.access.audit import audit
from control_plane.access.conditions import Duplicate, Unknown
from control_plane.access.names import check_name
from control_plane.identifiers import new_tenant_id
from control_plane.store import announce, unix_ms
from control_plane.store.tables import ChangeKind, Tenant


def create_tenant(session: Session, *, name: str, actor: str) -> Tenant:
    """Raises Invalid, or Duplicate where the name is taken."""
    check_name("tenant", name)
    if session.exec(select(Tenant.id).where(Tenant.name == name)).first():
        raise Duplicate(f"there is a tenant named {name!r} already")
    tenant = Tenant(id=new_tenant_id(), name=name, created_unix_ms=unix_ms())
    session.add(tenant)
    audit(session, actor=actor, action="tenant.created", subject=tenant.id, tenant_id=tenant.id)
    announce(session, ChangeKind.ACCESS, tenant.id)
    return tenant


def find_tenant(session: Session, id_or_name: str) -> Tenant:
    """Raises Unknown. Names never look like ids, so that one text means one tenant."""
    matches = or_(col(Tenant.id) == id_or_name, col(Tenant.name) == id_or_name)
    tenant = session.exec(select(Tenant).where(matches)).first()
    if tenant is None:
        raise Unknown("tenant", id_or_name)
    return tenant


def list_tenants(session: Session) -> list[Tenant]:
    return list(session.exec(select(Tenant).order_by(Tenant.name)))
