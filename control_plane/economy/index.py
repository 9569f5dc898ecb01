"""The economy index: who may use which pool under what terms, in memory, as fresh as the store's changes."""

import asyncio
import logging

from sqlalchemy.exc import SQLAlchemyError

from control_plane.economy.queries import Economy, read_economy, tenant_of
from control_plane.economy.terms import (
    LeftOutPool,
    NoOffer,
    Offers,
    PoolEconomy,
    PoolOffer,
    PoolRight,
    TenantEconomy,
)
from control_plane.identifiers import PoolId, TenantId
from control_plane.store import Store, watch
from control_plane.store.economy_tables import PoolKind, TrustPolicy
from control_plane.store.tables import ChangeKind

logger = logging.getLogger(__name__)

RETRY_S = 1.0
# A new tenant and an enrolled or revoked agent change roles as much as a subscription does.
_KINDS = frozenset({ChangeKind.ECONOMY, ChangeKind.AGENT, ChangeKind.ACCESS})


class EconomyIndex:
    """Answers without I/O. `run` follows the store until it is cancelled."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._economy = Economy({}, {})

    def tenant(self, tenant_id: TenantId) -> TenantEconomy:
        """For a tenant that is not known yet: the defaults."""
        return tenant_of(self._economy, tenant_id)

    @property
    def economy(self) -> Economy:
        """All of it, as it is now."""
        return self._economy

    def pool(self, pool_id: PoolId) -> PoolEconomy | None:
        return self._economy.pools.get(pool_id)

    def offers(self, tenant_id: TenantId, model: str, now_unix_ms: int) -> Offers:
        """The pools that the tenant may use for `model` (a served name) now, and why not the others."""
        return offers(self._economy, tenant_id, model, now_unix_ms)

    def priced_models(self) -> frozenset[str]:
        """Served names that any pool has a price for, now or at some time."""
        return frozenset(model for pool in self._economy.pools.values() for model in pool.prices)

    async def refresh(self) -> None:
        """Reads everything again; whoever returns from here sees every change committed before."""
        self._economy = await self._store.read(read_economy)

    async def run(self) -> None:
        while True:
            try:
                async for changes in watch(self._store):
                    if changes.kinds & _KINDS:
                        await self.refresh()
            except SQLAlchemyError:
                # What is held stays in use: an unreadable database must not stop own-card calls.
                logger.exception("could not read the economy, trying again in %s s", RETRY_S)
                await asyncio.sleep(RETRY_S)


def offers(economy: Economy, tenant_id: TenantId, model: str, now_unix_ms: int) -> Offers:
    tenant = tenant_of(economy, tenant_id)
    usable, left_out = [], []
    for right in tenant.rights:
        pool = economy.pools.get(right.pool_id)
        if pool is None:
            continue
        offer = _offer(tenant, right, pool, model, now_unix_ms)
        if isinstance(offer, PoolOffer):
            usable.append(offer)
        else:
            left_out.append(offer)
    not_entitled = not tenant.rights and any(
        pool.price(model, now_unix_ms) is not None for pool in economy.pools.values()
    )
    usable.sort(key=lambda offer: (not offer.subscribed, offer.kind is not PoolKind.HOSTED, offer.pool_id))
    return Offers(tuple(usable), tuple(left_out), not_entitled)


def _offer(
    tenant: TenantEconomy, right: PoolRight, pool: PoolEconomy, model: str, now_unix_ms: int
) -> PoolOffer | LeftOutPool:
    price = pool.price(model, now_unix_ms)
    if price is None:
        return LeftOutPool(pool.pool_id, pool.name, NoOffer.UNPRICED)
    cards = pool.cards if tenant.trust is TrustPolicy.ANY_POOL_CARD else pool.operator_cards
    if not cards.has_other_than(tenant.tenant_id):
        others = pool.cards.has_other_than(tenant.tenant_id)
        return LeftOutPool(pool.pool_id, pool.name, NoOffer.UNTRUSTED_CARDS if others else NoOffer.NO_CARDS)
    return PoolOffer(
        pool.pool_id,
        pool.name,
        pool.kind,
        right.plan,
        right.subscribed,
        cards,
        pool.operator_cards,
        price,
        pool.share(now_unix_ms),
    )
