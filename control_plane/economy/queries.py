"""The economy's reads of the store: the whole economy as values, for the index."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from sqlmodel import Session, col, select

from control_plane.economy.money import PriceTerms
from control_plane.economy.pins import Pin, list_pins, pin_of
from control_plane.economy.ring import CardRing, PoolCard
from control_plane.economy.roles import RoleFacts, resolve_role
from control_plane.economy.terms import (
    ExternalPolicy,
    PlanTerms,
    PoolEconomy,
    PoolRight,
    TenantEconomy,
)
from control_plane.identifiers import AgentId, PlanId, PoolId, TenantId
from control_plane.store.economy_tables import (
    Billing,
    Contribution,
    Overage,
    Plan,
    Pool,
    PoolKind,
    PoolShare,
    Price,
    Subscription,
    TenantPolicy,
    TrustPolicy,
)
from control_plane.store.tables import Agent, Tenant


@dataclass(frozen=True, slots=True)
class Economy:
    """Everything that is decided by, at one moment."""

    tenants: Mapping[TenantId, TenantEconomy]
    pools: Mapping[PoolId, PoolEconomy]


def read_economy(session: Session) -> Economy:
    policies = {row.tenant_id: row for row in session.exec(select(TenantPolicy))}
    plans = {row.id: plan_terms(row) for row in session.exec(select(Plan))}
    pools = _pools(session, plans, {tenant for tenant, policy in policies.items() if policy.is_operator})
    defaults = tuple(
        PoolRight(pool.pool_id, pool.default_plan, subscribed=False)
        for pool in pools.values()
        if pool.default_plan is not None
    )
    subscriptions: dict[str, list[PoolRight]] = defaultdict(list)
    for row in session.exec(select(Subscription).where(col(Subscription.ended_unix_ms).is_(None))):
        right = PoolRight(PoolId(row.pool_id), plans[row.plan_id], subscribed=True)
        subscriptions[row.tenant_id].append(right)
    pins: dict[str, list[Pin]] = defaultdict(list)
    for pin in list_pins(session):
        pins[pin.tenant_id].append(pin_of(pin))
    enrolled: dict[str, int] = defaultdict(int)
    for owner in session.exec(select(Agent.tenant_id).where(col(Agent.revoked_unix_ms).is_(None))):
        enrolled[owner] += 1
    lent: dict[str, int] = defaultdict(int)
    for pool in pools.values():
        for card in pool.cards.cards:
            lent[card.tenant_id] += 1
    tenants = {}
    for tenant_id in session.exec(select(Tenant.id)):
        own = subscriptions.get(tenant_id, [])
        facts = RoleFacts(enrolled.get(tenant_id, 0), lent.get(tenant_id, 0), len(own))
        tenant = _tenant(tenant_id, facts, policies.get(tenant_id), own, defaults)
        tenants[TenantId(tenant_id)] = replace(tenant, pins=tuple(pins.get(tenant_id, ())))
    return Economy(MappingProxyType(tenants), MappingProxyType(pools))


def tenant_of(economy: Economy, tenant_id: TenantId) -> TenantEconomy:
    """For a tenant that was made since the economy was read: the defaults."""
    found = economy.tenants.get(tenant_id)
    return found if found is not None else _stranger(economy, tenant_id)


def _stranger(economy: Economy, tenant_id: TenantId) -> TenantEconomy:
    defaults = tuple(
        PoolRight(pool.pool_id, pool.default_plan, subscribed=False)
        for pool in economy.pools.values()
        if pool.default_plan is not None
    )
    return _tenant(tenant_id, RoleFacts(), None, [], defaults)


def plan_terms(row: Plan) -> PlanTerms:
    return PlanTerms(
        plan_id=PlanId(row.id),
        name=row.name,
        monthly_tokens=row.monthly_tokens,
        requests_per_minute=row.requests_per_minute,
        tokens_per_minute=row.tokens_per_minute,
        concurrent_calls=row.concurrent_calls,
        default_output_tokens=row.default_output_tokens,
        overage=Overage(row.overage),
        billing=Billing(row.billing),
    )


def _tenant(
    tenant_id: str,
    facts: RoleFacts,
    policy: TenantPolicy | None,
    subscriptions: list[PoolRight],
    defaults: tuple[PoolRight, ...],
) -> TenantEconomy:
    subscribed = {right.pool_id for right in subscriptions}
    return TenantEconomy(
        tenant_id=TenantId(tenant_id),
        facts=facts,
        role=resolve_role(facts),
        is_operator=policy is not None and policy.is_operator,
        trust=TrustPolicy(policy.trust) if policy is not None else TrustPolicy.OPERATOR_CARDS,
        external=ExternalPolicy(policy.external_allowed, policy.external_cap_micro_usd)
        if policy is not None
        else ExternalPolicy(),
        rights=(*subscriptions, *(right for right in defaults if right.pool_id not in subscribed)),
    )


def _pools(
    session: Session, plans: Mapping[str, PlanTerms], operators: set[str]
) -> dict[PoolId, PoolEconomy]:
    cards: dict[str, list[PoolCard]] = defaultdict(list)
    lent = (
        select(Contribution.pool_id, Agent.id, Agent.tenant_id)
        .join(Agent, col(Agent.id) == col(Contribution.agent_id))
        .where(col(Contribution.withdrawn_unix_ms).is_(None), col(Agent.revoked_unix_ms).is_(None))
        .order_by(col(Agent.id))
    )
    for pool_id, agent_id, tenant_id in session.exec(lent):
        card = PoolCard(AgentId(agent_id), TenantId(tenant_id), tenant_id in operators)
        cards[pool_id].append(card)
    prices: dict[str, dict[str, list[tuple[int, PriceTerms]]]] = defaultdict(lambda: defaultdict(list))
    for price in session.exec(select(Price).order_by(col(Price.starts_unix_ms))):
        terms = PriceTerms(
            price.input_micro_usd_per_mtok,
            price.output_micro_usd_per_mtok,
            price.cached_input_micro_usd_per_mtok,
        )
        prices[price.pool_id][price.model].append((price.starts_unix_ms, terms))
    shares: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for share in session.exec(select(PoolShare).order_by(col(PoolShare.starts_unix_ms))):
        shares[share.pool_id].append((share.starts_unix_ms, share.share_basis_points))
    return {
        PoolId(row.id): PoolEconomy(
            pool_id=PoolId(row.id),
            name=row.name,
            kind=PoolKind(row.kind),
            # Where its tenant is no longer the operator's, a card serves no hosted pool.
            cards=CardRing(
                tuple(
                    card
                    for card in cards.get(row.id, ())
                    if card.operator_run or row.kind == PoolKind.PROVIDER
                )
            ),
            operator_cards=CardRing(tuple(card for card in cards.get(row.id, ()) if card.operator_run)),
            default_plan=plans[row.default_plan_id] if row.default_plan_id is not None else None,
            prices=MappingProxyType(
                {model: tuple(versions) for model, versions in prices.get(row.id, {}).items()}
            ),
            shares=tuple(shares.get(row.id, ())),
        )
        for row in session.exec(select(Pool).order_by(col(Pool.name)))
    }
