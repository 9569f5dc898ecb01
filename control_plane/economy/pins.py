"""Pins: an administrator's word on where a tenant's calls of a model or a purpose go, and nowhere else."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlmodel import Session, col, select

from control_plane.access import Duplicate, Invalid, Unknown, audit
from control_plane.identifiers import AgentId, PoolId, new_pin_id
from control_plane.store import announce, unix_ms
from control_plane.store.economy_tables import Pool
from control_plane.store.tables import Agent, ChangeKind, Purpose, RoutePin, Tenant, Tier

MOST_MODEL_CHARACTERS = 128


@dataclass(frozen=True, slots=True)
class Pin:
    """`model` and `purpose`: of the calls that it is for, None: any. `pool_id` and `agent_id`: None: any of
    the tier."""

    model: str | None
    purpose: Purpose | None
    tier: Tier
    pool_id: PoolId | None = None
    agent_id: AgentId | None = None


@dataclass(frozen=True, slots=True)
class NewPin:
    tenant: Tenant
    # At least one of the two.
    model: str | None
    purpose: Purpose | None
    tier: Tier
    # Of tier `pool` alone.
    pool: Pool | None = None
    # Of tiers `own` and `pool`.
    agent: Agent | None = None


def pin_for(pins: Iterable[Pin], model: str, purpose: Purpose) -> Pin | None:
    """The one that says most about the call: model and purpose before model before purpose."""
    fitting = [pin for pin in pins if pin.model in (None, model) and pin.purpose in (None, purpose)]
    return max(fitting, key=lambda pin: (pin.model is not None, pin.purpose is not None), default=None)


def add_pin(session: Session, new: NewPin, *, actor: str) -> RoutePin:
    """Raises Invalid, and Duplicate where a live pin is for the same calls."""
    if new.model is None and new.purpose is None:
        raise Invalid("a pin is for a model, a purpose or both: name one")
    if new.model is not None and not 0 < len(new.model) <= MOST_MODEL_CHARACTERS:
        raise Invalid(f"a model's name has 1 to {MOST_MODEL_CHARACTERS} characters")
    if new.pool is not None and new.tier is not Tier.POOL:
        raise Invalid("only a pin to the tier pool names a pool")
    if new.agent is not None and new.tier is Tier.EXTERNAL:
        raise Invalid("a pin to the external tier names no agent")
    if new.agent is not None and (new.agent.tenant_id == new.tenant.id) is not (new.tier is Tier.OWN):
        raise Invalid(f"agent {new.agent.name!r} cannot serve this tenant in the tier {new.tier}")
    if new.purpose is Purpose.CODING and new.tier is Tier.EXTERNAL:
        raise Invalid("coding calls never go to a vendor")
    same = select(RoutePin.id).where(
        RoutePin.tenant_id == new.tenant.id,
        col(RoutePin.model).is_not_distinct_from(new.model),
        col(RoutePin.purpose).is_not_distinct_from(new.purpose),
        col(RoutePin.ended_unix_ms).is_(None),
    )
    if session.exec(same).first():
        raise Duplicate("there is a pin for these calls already: end that first")
    row = RoutePin(
        id=new_pin_id(),
        tenant_id=new.tenant.id,
        model=new.model,
        purpose=new.purpose,
        tier=new.tier,
        pool_id=new.pool.id if new.pool is not None else None,
        agent_id=new.agent.id if new.agent is not None else None,
        created_unix_ms=unix_ms(),
    )
    session.add(row)
    detail = {name: getattr(row, name) for name in ("model", "purpose", "tier", "pool_id", "agent_id")}
    audit(session, actor=actor, action="pin.added", subject=row.id, tenant_id=row.tenant_id, detail=detail)
    announce(session, ChangeKind.ECONOMY, row.tenant_id)
    return row


def end_pin(session: Session, *, pin_id: str, actor: str) -> RoutePin:
    """At once. Again: as it ended. Raises Unknown."""
    row = session.get(RoutePin, pin_id)
    if row is None:
        raise Unknown("pin", pin_id)
    if row.ended_unix_ms is None:
        row.ended_unix_ms = unix_ms()
        session.add(row)
        audit(session, actor=actor, action="pin.ended", subject=row.id, tenant_id=row.tenant_id)
        announce(session, ChangeKind.ECONOMY, row.tenant_id)
    return row


def list_pins(session: Session, *, tenant_id: str | None = None) -> list[RoutePin]:
    """Those that hold now."""
    query = select(RoutePin).where(col(RoutePin.ended_unix_ms).is_(None)).order_by(col(RoutePin.id))
    if tenant_id is not None:
        query = query.where(RoutePin.tenant_id == tenant_id)
    return list(session.exec(query))


def pin_of(row: RoutePin) -> Pin:
    return Pin(
        row.model,
        Purpose(row.purpose) if row.purpose is not None else None,
        Tier(row.tier),
        PoolId(row.pool_id) if row.pool_id is not None else None,
        AgentId(row.agent_id) if row.agent_id is not None else None,
    )
