"""The enrolment room's SQL."""

from sqlmodel import Session, col, or_, select

from control_plane.store.tables import Agent, Invite, Tenant


def invite_exists(session: Session, token_sha256: bytes) -> bool:
    return session.exec(select(Invite.id).where(Invite.token_sha256 == token_sha256)).first() is not None


def invite_for_update(session: Session, token_sha256: bytes) -> Invite | None:
    """Held until the transaction ends, so that of two claims one sees what the other did."""
    query = select(Invite).where(Invite.token_sha256 == token_sha256).with_for_update()
    return session.exec(query).first()


def agent_with_either_key(
    session: Session, *, wireguard_public_key: str, tls_key_sha256: bytes
) -> Agent | None:
    """Revoked agents among them."""
    either = or_(
        col(Agent.wireguard_public_key) == wireguard_public_key, col(Agent.tls_key_sha256) == tls_key_sha256
    )
    return session.exec(select(Agent).where(either)).first()


def agent_has_key(session: Session, agent_id: str, tls_key_sha256: bytes) -> bool:
    """A revoked one too."""
    query = select(Agent.id).where(Agent.id == agent_id, Agent.tls_key_sha256 == tls_key_sha256)
    return session.exec(query).first() is not None


def unique_name(session: Session, tenant_id: str, wanted: str, limit: int) -> str:
    """`wanted`, or with the first number behind it that makes it unique in the tenant: host, host-2, ..."""
    taken = set(session.exec(select(Agent.name).where(Agent.tenant_id == tenant_id)))
    name, number = wanted, 1
    while name in taken:
        number += 1
        suffix = f"-{number}"
        name = wanted[: limit - len(suffix)].rstrip() + suffix
    return name


def tenant_name(session: Session, tenant_id: str) -> str:
    return session.exec(select(Tenant.name).where(Tenant.id == tenant_id)).one()
