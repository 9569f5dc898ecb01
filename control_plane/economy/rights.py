"""What the operator decides about a tenant: its subscriptions, and its policy."""

from dataclasses import dataclass

from sqlmodel import Session, col, select

from control_plane.access import Duplicate, Invalid, Unknown, audit
from control_plane.economy.money import PICO_PER_MICRO
from control_plane.identifiers import new_subscription_id
from control_plane.store import announce, unix_ms
from control_plane.store.economy_tables import Plan, Pool, Subscription, TenantPolicy, TrustPolicy
from control_plane.store.tables import ChangeKind, Tenant

# One million USD: within 63 bits as pico-USD.
MOST_CAP_MICRO_USD = 1_000_000 * PICO_PER_MICRO


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """None: as it is."""

    is_operator: bool | None = None
    trust: TrustPolicy | None = None
    external_allowed: bool | None = None
    external_cap_micro_usd: int | None = None


def start_subscription(
    session: Session, *, tenant: Tenant, pool: Pool, plan: Plan, actor: str
) -> Subscription:
    """Raises Duplicate where the tenant has one to this pool that has not ended."""
    live = select(Subscription.id).where(
        Subscription.tenant_id == tenant.id,
        Subscription.pool_id == pool.id,
        col(Subscription.ended_unix_ms).is_(None),
    )
    if session.exec(live).first():
        raise Duplicate(f"{tenant.name!r} is subscribed to {pool.name!r}: end that first")
    row = Subscription(
        id=new_subscription_id(),
        tenant_id=tenant.id,
        pool_id=pool.id,
        plan_id=plan.id,
        created_unix_ms=unix_ms(),
    )
    session.add(row)
    detail = {"pool": pool.id, "plan": plan.id}
    audit(
        session,
        actor=actor,
        action="subscription.started",
        subject=row.id,
        tenant_id=tenant.id,
        detail=detail,
    )
    announce(session, ChangeKind.ECONOMY, tenant.id)
    return row


def end_subscription(session: Session, *, subscription_id: str, actor: str) -> Subscription:
    """At once. Again: as it ended. Raises Unknown."""
    row = session.get(Subscription, subscription_id)
    if row is None:
        raise Unknown("subscription", subscription_id)
    if row.ended_unix_ms is None:
        row.ended_unix_ms = unix_ms()
        session.add(row)
        audit(session, actor=actor, action="subscription.ended", subject=row.id, tenant_id=row.tenant_id)
        announce(session, ChangeKind.ECONOMY, row.tenant_id)
    return row


def list_subscriptions(session: Session, *, tenant_id: str | None = None) -> list[Subscription]:
    query = select(Subscription).order_by(col(Subscription.id))
    if tenant_id is not None:
        query = query.where(Subscription.tenant_id == tenant_id)
    return list(session.exec(query))


def change_policy(session: Session, *, tenant: Tenant, change: PolicyChange, actor: str) -> TenantPolicy:
    """Raises Invalid."""
    row = session.get(TenantPolicy, tenant.id) or TenantPolicy(tenant_id=tenant.id)
    cap = change.external_cap_micro_usd
    if cap is not None and not 0 <= cap <= MOST_CAP_MICRO_USD:
        raise Invalid(f"a monthly cap is 0 to {MOST_CAP_MICRO_USD} micro-USD")
    if change.is_operator is not None:
        row.is_operator = change.is_operator
    if change.trust is not None:
        row.trust = change.trust
    if change.external_allowed is not None:
        row.external_allowed = change.external_allowed
    if cap is not None:
        row.external_cap_micro_usd = cap
    session.add(row)
    detail = {
        "is_operator": row.is_operator,
        "trust": row.trust,
        "external_allowed": row.external_allowed,
        "external_cap_micro_usd": row.external_cap_micro_usd,
    }
    audit(
        session, actor=actor, action="policy.changed", subject=tenant.id, tenant_id=tenant.id, detail=detail
    )
    announce(session, ChangeKind.ECONOMY, tenant.id)
    return row
