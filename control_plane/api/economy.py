"""REST: pools, plans, prices, shares, subscriptions and tenants' policies. All are named by id or name."""

from fastapi import APIRouter
from sqlmodel import Session

from control_plane.access import OPERATOR, find_tenant
from control_plane.api.change import Change
from control_plane.api.economy_schemas import (
    ContributionRequest,
    ContributionResponse,
    LentCardResponse,
    PlanRequest,
    PlanResponse,
    PolicyRequest,
    PoolDetail,
    PoolRequest,
    PoolResponse,
    PriceRequest,
    PriceResponse,
    ShareRequest,
    ShareResponse,
    StandingResponse,
    SubscriptionRequest,
    SubscriptionResponse,
)
from control_plane.api.queries import find_agent
from control_plane.economy import (
    NewPlan,
    PolicyChange,
    PriceTerms,
    TenantEconomy,
    change_policy,
    contribute,
    contributions,
    create_plan,
    create_pool,
    end_subscription,
    find_plan,
    find_pool,
    list_plans,
    list_pools,
    list_prices,
    list_subscriptions,
    read_economy,
    set_price,
    set_share,
    start_subscription,
    withdraw,
)
from control_plane.identifiers import PoolId, TenantId
from control_plane.store import Store, unix_ms


def economy_routes(store: Store, change: Change) -> APIRouter:
    routes = APIRouter()
    _pools(routes, store, change)
    _terms(routes, store, change)
    _tenants(routes, store, change)
    return routes


def _pools(routes: APIRouter, store: Store, change: Change) -> None:
    @routes.get("/pools")
    async def pools() -> list[PoolResponse]:
        """All pools."""
        return [PoolResponse.model_validate(row) for row in await store.read(list_pools)]

    @routes.post("/pools", status_code=201)
    async def new_pool(wanted: PoolRequest) -> PoolResponse:
        """Makes a pool, of the operator's cards or of tenants'."""

        def unit(session: Session) -> PoolResponse:
            row = create_pool(
                session,
                name=wanted.name,
                kind=wanted.kind,
                default_plan=wanted.default_plan,
                actor=OPERATOR,
            )
            return PoolResponse.model_validate(row)

        return await change(unit)

    @routes.get("/pools/{pool}")
    async def one_pool(pool: str) -> PoolDetail:
        """One pool: its cards, prices and share."""
        return await store.read(lambda session: pool_detail(session, pool))

    @routes.post("/pools/{pool}/contribute")
    async def lend(pool: str, wanted: ContributionRequest) -> ContributionResponse:
        """Lends an agent's spare capacity to a pool."""

        def unit(session: Session) -> ContributionResponse:
            agent, _ = find_agent(session, wanted.agent)
            row = contribute(session, agent=agent, pool=find_pool(session, pool), actor=OPERATOR)
            return ContributionResponse.model_validate(row)

        return await change(unit)

    @routes.post("/agents/{agent}/withdraw")
    async def take_back(agent: str) -> ContributionResponse:
        """Takes an agent out of its pool."""

        def unit(session: Session) -> ContributionResponse:
            found, _ = find_agent(session, agent)
            return ContributionResponse.model_validate(withdraw(session, agent=found, actor=OPERATOR))

        return await change(unit)


def _terms(routes: APIRouter, store: Store, change: Change) -> None:
    @routes.get("/plans")
    async def plans() -> list[PlanResponse]:
        """All plans."""
        return [PlanResponse.model_validate(row) for row in await store.read(list_plans)]

    @routes.post("/plans", status_code=201)
    async def new_plan(wanted: PlanRequest) -> PlanResponse:
        """Makes a plan: quota, limits, billing, and what happens beyond the quota."""
        new = NewPlan(**wanted.model_dump())
        row = await change(lambda session: create_plan(session, new, actor=OPERATOR))
        return PlanResponse.model_validate(row)

    @routes.get("/prices")
    async def prices(pool: str | None = None) -> list[PriceResponse]:
        """Prices with the times from which they count."""

        def query(session: Session) -> list[PriceResponse]:
            pool_id = find_pool(session, pool).id if pool is not None else None
            return [PriceResponse.model_validate(row) for row in list_prices(session, pool_id=pool_id)]

        return await store.read(query)

    @routes.post("/pools/{pool}/prices")
    async def new_price(pool: str, wanted: PriceRequest) -> PriceResponse:
        """Sets a model's price in a pool, in micro-USD per million tokens. Earlier ones stay."""
        cached = wanted.cached_input_micro_usd_per_mtok
        price = PriceTerms(
            wanted.input_micro_usd_per_mtok,
            wanted.output_micro_usd_per_mtok,
            wanted.input_micro_usd_per_mtok if cached is None else cached,
        )

        def unit(session: Session) -> PriceResponse:
            row = set_price(
                session,
                pool=find_pool(session, pool),
                model=wanted.model,
                price=price,
                starts_unix_ms=_or_now(wanted.starts_unix_ms),
                actor=OPERATOR,
            )
            return PriceResponse.model_validate(row)

        return await change(unit)

    @routes.post("/pools/{pool}/share")
    async def new_share(pool: str, wanted: ShareRequest) -> ShareResponse:
        """Sets what part of a charge goes to the card's owner, in basis points. Earlier ones stay."""

        def unit(session: Session) -> ShareResponse:
            row = set_share(
                session,
                pool=find_pool(session, pool),
                share_basis_points=wanted.share_basis_points,
                starts_unix_ms=_or_now(wanted.starts_unix_ms),
                actor=OPERATOR,
            )
            return ShareResponse.model_validate(row)

        return await change(unit)


def _tenants(routes: APIRouter, store: Store, change: Change) -> None:
    @routes.get("/subscriptions")
    async def subscriptions(tenant: str | None = None) -> list[SubscriptionResponse]:
        """Subscriptions, ended ones too."""

        def query(session: Session) -> list[SubscriptionResponse]:
            tenant_id = find_tenant(session, tenant).id if tenant is not None else None
            rows = list_subscriptions(session, tenant_id=tenant_id)
            return [SubscriptionResponse.model_validate(row) for row in rows]

        return await store.read(query)

    @routes.post("/subscriptions", status_code=201)
    async def subscribe(wanted: SubscriptionRequest) -> SubscriptionResponse:
        """Gives a tenant a right to a pool, under a plan."""

        def unit(session: Session) -> SubscriptionResponse:
            row = start_subscription(
                session,
                tenant=find_tenant(session, wanted.tenant),
                pool=find_pool(session, wanted.pool),
                plan=find_plan(session, wanted.plan),
                actor=OPERATOR,
            )
            return SubscriptionResponse.model_validate(row)

        return await change(unit)

    @routes.post("/subscriptions/{subscription_id}/end")
    async def unsubscribe(subscription_id: str) -> SubscriptionResponse:
        """Ends a subscription at once."""
        row = await change(
            lambda session: end_subscription(session, subscription_id=subscription_id, actor=OPERATOR)
        )
        return SubscriptionResponse.model_validate(row)

    @routes.get("/tenants/{tenant}/policy")
    async def policy(tenant: str) -> StandingResponse:
        """A tenant's role, the facts that it follows from, and its policy."""
        return await store.read(lambda session: _standing(session, find_tenant(session, tenant).id))

    @routes.post("/tenants/{tenant}/policy")
    async def new_policy(tenant: str, wanted: PolicyRequest) -> StandingResponse:
        """Changes a tenant's policy: what is absent stays as it is."""

        def unit(session: Session) -> StandingResponse:
            found = find_tenant(session, tenant)
            change_policy(session, tenant=found, change=PolicyChange(**wanted.model_dump()), actor=OPERATOR)
            session.flush()
            return _standing(session, found.id)

        return await change(unit)


def pool_detail(session: Session, id_or_name: str) -> PoolDetail:
    """Raises Unknown."""
    row = find_pool(session, id_or_name)
    pool = read_economy(session).pools[PoolId(row.id)]
    names = {lent.agent_id: name for lent, name in contributions(session, pool_id=row.id)}
    return PoolDetail(
        **PoolResponse.model_validate(row).model_dump(),
        share_basis_points=pool.share(unix_ms()),
        cards=[
            LentCardResponse(
                agent_id=card.agent_id,
                agent_name=names[card.agent_id],
                tenant_id=card.tenant_id,
                operator_run=card.operator_run,
            )
            for card in pool.cards.cards
        ],
        prices=[PriceResponse.model_validate(price) for price in list_prices(session, pool_id=row.id)],
    )


def _standing(session: Session, tenant_id: str) -> StandingResponse:
    return standing(read_economy(session).tenants[TenantId(tenant_id)])


def standing(tenant: TenantEconomy) -> StandingResponse:
    return StandingResponse(
        tenant_id=tenant.tenant_id,
        role=tenant.role,
        enrolled_cards=tenant.facts.enrolled_cards,
        live_contributions=tenant.facts.live_contributions,
        live_subscriptions=tenant.facts.live_subscriptions,
        is_operator=tenant.is_operator,
        trust=tenant.trust,
        external_allowed=tenant.external.allowed,
        external_cap_micro_usd=tenant.external.monthly_cap_micro_usd,
    )


def _or_now(moment_unix_ms: int | None) -> int:
    return unix_ms() if moment_unix_ms is None else moment_unix_ms
