"""The key that a user's calls from the console go by: in the books a key like any other, with no text that
anybody could present."""

from sqlmodel import Session, select

from control_plane.access.audit import audit
from control_plane.access.conditions import Invalid
from control_plane.access.keys import hash_key
from control_plane.access.principal import Principal
from control_plane.identifiers import ApiKeyId, TenantId, new_api_key_id
from control_plane.store import unix_ms
from control_plane.store.tables import ApiKey, Purpose, Tenant, User

NAME = "console"


def page_principal(session: Session, user_id: str) -> Principal:
    """Made at its first use, and audited; its calls are the user's in every record. Raises Invalid where an
    operator has revoked it."""
    user = session.get_one(User, user_id)
    tenant = session.get_one(Tenant, user.tenant_id)
    # Every key's text begins otherwise: no text has this hash and is looked at.
    digest = hash_key(f"console of {user_id}")
    row = session.exec(select(ApiKey).where(ApiKey.hash_sha256 == digest)).first()
    if row is None:
        row = ApiKey(
            id=new_api_key_id(),
            tenant_id=tenant.id,
            name=NAME,
            hint=NAME,
            hash_sha256=digest,
            purpose=Purpose.GENERAL,
            created_unix_ms=unix_ms(),
        )
        session.add(row)
        detail = {"name": NAME, "purpose": Purpose.GENERAL.value, "hint": NAME}
        audit(
            session, actor=user_id, action="key.created", subject=row.id, tenant_id=tenant.id, detail=detail
        )
    if row.revoked_unix_ms is not None:
        raise Invalid("your key for calls from the console was revoked: ask your operator")
    return Principal(TenantId(tenant.id), tenant.name, ApiKeyId(row.id), Purpose.GENERAL)
