"""Pools and the cards lent to them. Every change is audited and announced."""

from sqlmodel import Session, col, or_, select

from control_plane.access import Duplicate, Invalid, Unknown, audit, check_name
from control_plane.economy.plans import find_plan
from control_plane.identifiers import new_contribution_id, new_pool_id
from control_plane.store import announce, unix_ms
from control_plane.store.economy_tables import Contribution, Pool, PoolKind, TenantPolicy
from control_plane.store.tables import Agent, ChangeKind


def create_pool(session: Session, *, name: str, kind: PoolKind, default_plan: str | None, actor: str) -> Pool:
    """Raises Invalid, Duplicate, or Unknown where there is no such plan."""
    check_name("pool", name)
    if session.exec(select(Pool.id).where(Pool.name == name)).first():
        raise Duplicate(f"there is a pool named {name!r} already")
    if default_plan is not None and kind is not PoolKind.HOSTED:
        raise Invalid("only a hosted pool has a default plan")
    plan_id = find_plan(session, default_plan).id if default_plan is not None else None
    pool = Pool(id=new_pool_id(), name=name, kind=kind, default_plan_id=plan_id, created_unix_ms=unix_ms())
    session.add(pool)
    audit(session, actor=actor, action="pool.created", subject=pool.id, detail={"name": name, "kind": kind})
    announce(session, ChangeKind.ECONOMY, pool.id)
    return pool


def find_pool(session: Session, id_or_name: str) -> Pool:
    """Raises Unknown."""
    pool = session.exec(
        select(Pool).where(or_(col(Pool.id) == id_or_name, col(Pool.name) == id_or_name))
    ).first()
    if pool is None:
        raise Unknown("pool", id_or_name)
    return pool


def list_pools(session: Session) -> list[Pool]:
    return list(session.exec(select(Pool).order_by(col(Pool.name))))


def contributions(session: Session, *, pool_id: str) -> list[tuple[Contribution, str]]:
    """What is lent to a pool now, with the agents' names."""
    query = (
        select(Contribution, Agent.name)
        .join(Agent, col(Agent.id) == col(Contribution.agent_id))
        .where(
            Contribution.pool_id == pool_id,
            col(Contribution.withdrawn_unix_ms).is_(None),
            col(Agent.revoked_unix_ms).is_(None),
        )
        .order_by(col(Agent.name))
    )
    return [(row, name) for row, name in session.exec(query)]


def contribute(session: Session, *, agent: Agent, pool: Pool, actor: str) -> Contribution:
    """Lends an agent's spare capacity. Again to the same pool: what there is.

    Raises Invalid where the card may not be in such a pool, Duplicate where it is lent to another.
    """
    if agent.revoked_unix_ms is not None:
        raise Invalid(f"agent {agent.name!r} is revoked")
    policy = session.get(TenantPolicy, agent.tenant_id)
    if pool.kind == PoolKind.HOSTED and (policy is None or not policy.is_operator):
        raise Invalid("a hosted pool takes the operator's cards only: lend this one to a provider pool")
    live = _live(session, agent.id)
    if live is not None:
        if live.pool_id == pool.id:
            return live
        raise Duplicate(f"agent {agent.name!r} is lent to another pool: withdraw it first")
    row = Contribution(
        id=new_contribution_id(),
        pool_id=pool.id,
        agent_id=agent.id,
        tenant_id=agent.tenant_id,
        created_unix_ms=unix_ms(),
    )
    session.add(row)
    audit(
        session, actor=actor, action="card.contributed", subject=agent.id, tenant_id=agent.tenant_id,
        detail={"pool": pool.id},
    )  # fmt: skip
    announce(session, ChangeKind.ECONOMY, agent.id)
    return row


def withdraw(session: Session, *, agent: Agent, actor: str) -> Contribution:
    """At once: no new call goes there, running ones end and are credited. Raises Unknown."""
    row = _live(session, agent.id)
    if row is None:
        raise Unknown("contribution of agent", agent.name)
    row.withdrawn_unix_ms = unix_ms()
    session.add(row)
    audit(
        session, actor=actor, action="card.withdrawn", subject=agent.id, tenant_id=agent.tenant_id,
        detail={"pool": row.pool_id},
    )  # fmt: skip
    announce(session, ChangeKind.ECONOMY, agent.id)
    return row


def _live(session: Session, agent_id: str) -> Contribution | None:
    return session.exec(
        select(Contribution).where(
            Contribution.agent_id == agent_id, col(Contribution.withdrawn_unix_ms).is_(None)
        )
    ).first()
