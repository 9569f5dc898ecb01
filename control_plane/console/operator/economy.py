"""Tenants, pools, plans and price books, as they stand now. They are changed by the command line and REST."""

from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from sqlmodel import Session

from control_plane.access import list_tenants
from control_plane.api import (
    PlanResponse,
    PoolDetail,
    PriceResponse,
    StandingResponse,
    list_agents,
    pool_detail,
    standing,
)
from control_plane.console.door import Door
from control_plane.console.operator.queries import users_by_tenant
from control_plane.console.pages import OPERATOR_PLANS, OPERATOR_POOLS, OPERATOR_TENANTS
from control_plane.console.rendering import Rendering
from control_plane.economy import list_plans, list_pools, list_prices, read_economy
from control_plane.identifiers import PoolId, TenantId
from control_plane.store import Store, unix_ms

MOST_TENANTS = 300


@dataclass(frozen=True, slots=True)
class TenantRow:
    name: str
    created_unix_ms: int
    standing: StandingResponse
    users_count: int
    # An id and a name each.
    agents: tuple[tuple[str, str], ...]
    # Pool, plan, and whether it is by subscription; else by the pool's default plan.
    rights: tuple[tuple[str, str, bool], ...]


@dataclass(frozen=True, slots=True)
class PriceVersion:
    price: PriceResponse
    # "now", "from then on" or "past".
    when: str


@dataclass(frozen=True, slots=True)
class PriceBook:
    """A pool's prices and shares, every version, the newest first."""

    pool: str
    versions: tuple[PriceVersion, ...]
    # When it starts, and basis points.
    shares: tuple[tuple[int, int], ...]


def economy_page_routes(store: Store, door: Door, rendering: Rendering) -> APIRouter:
    routes = APIRouter()

    @routes.get(OPERATOR_TENANTS.path)
    async def tenants(request: Request, name: str = "") -> Response:
        viewer = await door.viewer(request, OPERATOR_TENANTS)
        rows = await store.read(lambda session: tenant_rows(session, name.strip()))
        return rendering.page(
            viewer,
            OPERATOR_TENANTS,
            "operator/tenants.html",
            rows=rows[:MOST_TENANTS],
            left_out=max(0, len(rows) - MOST_TENANTS),
            name=name,
        )

    @routes.get(OPERATOR_POOLS.path)
    async def pools(request: Request) -> Response:
        viewer = await door.viewer(request, OPERATOR_POOLS)

        def query(session: Session) -> tuple[list[PoolDetail], dict[str, str], dict[str, str]]:
            names = {tenant.id: tenant.name for tenant in list_tenants(session)}
            plans = {plan.id: plan.name for plan in list_plans(session)}
            return [pool_detail(session, row.id) for row in list_pools(session)], names, plans

        found, names, plans = await store.read(query)
        return rendering.page(
            viewer, OPERATOR_POOLS, "operator/pools.html", pools=found, names=names, plans=plans
        )

    @routes.get(OPERATOR_PLANS.path)
    async def plans(request: Request) -> Response:
        viewer = await door.viewer(request, OPERATOR_PLANS)

        def query(session: Session) -> tuple[list[PlanResponse], list[PriceBook]]:
            terms = [PlanResponse.model_validate(row) for row in list_plans(session)]
            return terms, price_books(session, unix_ms())

        terms, books = await store.read(query)
        return rendering.page(viewer, OPERATOR_PLANS, "operator/plans.html", plans=terms, books=books)

    return routes


def tenant_rows(session: Session, part_of_name: str) -> list[TenantRow]:
    """Those whose name has the text in it, whatever its case."""
    economy, users = read_economy(session), users_by_tenant(session)
    agents: dict[str, list[tuple[str, str]]] = {}
    for agent, _ in list_agents(session, None, revoked=False):
        agents.setdefault(agent.tenant_id, []).append((agent.id, agent.name))
    rows = []
    for tenant in list_tenants(session):
        found = economy.tenants[TenantId(tenant.id)]
        if part_of_name.casefold() not in tenant.name.casefold():
            continue
        rows.append(
            TenantRow(
                name=tenant.name,
                created_unix_ms=tenant.created_unix_ms,
                standing=standing(found),
                users_count=users.get(tenant.id, 0),
                agents=tuple(agents.get(tenant.id, ())),
                rights=tuple(
                    (economy.pools[right.pool_id].name, right.plan.name, right.subscribed)
                    for right in found.rights
                ),
            )
        )
    return rows


def price_books(session: Session, now_unix_ms: int) -> list[PriceBook]:
    economy = read_economy(session)
    books = []
    for pool in list_pools(session):
        in_force: set[str] = set()
        versions = []
        for row in list_prices(session, pool_id=pool.id):
            price = PriceResponse.model_validate(row)
            if price.starts_unix_ms > now_unix_ms:
                when = "from then on"
            elif price.model in in_force:
                when = "past"
            else:
                when = "now"
                in_force.add(price.model)
            versions.append(PriceVersion(price, when))
        shares = tuple(reversed(economy.pools[PoolId(pool.id)].shares))
        books.append(PriceBook(pool.name, tuple(versions), shares))
    return books
