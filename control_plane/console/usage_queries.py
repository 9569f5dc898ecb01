"""The usage pages' reads of the store: the economy's own, put together for people."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlmodel import Session, col, select

from control_plane.economy import (
    Credit,
    Economy,
    PlanTerms,
    PoolEconomy,
    PriceTerms,
    Span,
    served,
    tenant_of,
)
from control_plane.identifiers import PoolId, TenantId
from control_plane.store.economy_tables import Pool, PoolKind, QuotaMonth
from control_plane.store.tables import Agent

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class ServedHour:
    """What a tenant's cards served for others in an hour, of one model; of all consumers together."""

    hour_unix_ms: int
    model: str
    calls: int
    tokens: int
    # What was reversed is taken off.
    credit_pico_usd: int


def served_by_hour(session: Session, span: Span, tenant_id: TenantId) -> list[ServedHour]:
    """The newest first. Raises Invalid where there are more rows than are answered at once."""
    sums: dict[tuple[int, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for each in served(session, span, tenant_id=tenant_id):
        into = sums[each.hour_unix_ms, each.model]
        into[0] += each.calls
        into[1] += each.prompt_tokens + each.completion_tokens
        into[2] += each.credit_pico_usd - each.reversed_pico_usd
    return [
        ServedHour(hour, model, *into)
        for (hour, model), into in sorted(sums.items(), key=lambda item: (-item[0][0], item[0][1]))
    ]


@dataclass(frozen=True, slots=True)
class PastQuota:
    """What a tenant used of a pool in a month that has ended, of what the month was granted."""

    pool_name: str
    used_tokens: int
    granted_tokens: int


def past_quotas(session: Session, tenant_id: TenantId, month: str) -> list[PastQuota]:
    query = (
        select(Pool.name, QuotaMonth.used_tokens, QuotaMonth.quota_tokens)
        .join(QuotaMonth, col(QuotaMonth.pool_id) == col(Pool.id))
        .where(QuotaMonth.tenant_id == tenant_id, QuotaMonth.month == month)
        .order_by(col(Pool.name))
    )
    return [PastQuota(*row) for row in session.exec(query)]


def agent_names(session: Session, tenant_id: TenantId) -> dict[str, str]:
    """By id; of all that the tenant ever had, and of nobody else's."""
    return dict(session.exec(select(Agent.id, Agent.name).where(Agent.tenant_id == tenant_id)).all())


@dataclass(frozen=True, slots=True)
class Earned:
    """What a tenant's cards earned from one month's calls, by what became of it."""

    month: str
    held_pico_usd: int
    payable_pico_usd: int
    non_payable_pico_usd: int

    @property
    def earned_pico_usd(self) -> int:
        return self.held_pico_usd + self.payable_pico_usd + self.non_payable_pico_usd


def earned_by_month(credits_of: Sequence[Credit]) -> list[Earned]:
    """The newest first."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for each in credits_of:
        into = sums[each.month]
        into[0] += each.held_pico_usd
        into[1] += each.payable_pico_usd
        into[2] += each.non_payable_pico_usd
    return [Earned(month, *into) for month, into in sorted(sums.items(), reverse=True)]


@dataclass(frozen=True, slots=True)
class PriceRow:
    """`next_*`: the version that is announced; None where there is none."""

    model: str
    now: PriceTerms | None
    next_price: PriceTerms | None
    next_starts_unix_ms: int | None


@dataclass(frozen=True, slots=True)
class PriceBook:
    """A pool with its prices; `plan` None: the tenant has no right to use it."""

    pool_id: PoolId
    pool_name: str
    is_hosted: bool
    plan: PlanTerms | None
    is_subscribed: bool
    rows: list[PriceRow]
    # Of a charge; None where none of the tenant's cards is lent to it.
    share_basis_points: int | None


def price_books(economy: Economy, tenant_id: TenantId, now_unix_ms: int) -> list[PriceBook]:
    """Of the pools that the tenant may use or lends to, and of the hosted ones, which anybody may subscribe
    to."""
    rights = {right.pool_id: right for right in tenant_of(economy, tenant_id).rights}
    found = []
    for pool in economy.pools.values():
        right = rights.get(pool.pool_id)
        lends = any(card.tenant_id == tenant_id for card in pool.cards.cards)
        hosted = pool.kind is PoolKind.HOSTED
        if right is None and not hosted and not lends:
            continue
        rows = [_price_row(pool, model, now_unix_ms) for model in sorted(pool.prices)]
        found.append(
            PriceBook(
                pool.pool_id,
                pool.name,
                hosted,
                right.plan if right is not None else None,
                right is not None and right.subscribed,
                rows,
                pool.share(now_unix_ms) if lends else None,
            )
        )
    return sorted(found, key=lambda book: (book.plan is None, book.pool_name))


def _price_row(pool: PoolEconomy, model: str, now_unix_ms: int) -> PriceRow:
    later = [version for version in pool.prices[model] if version[0] > now_unix_ms]
    starts, announced = later[0] if later else (None, None)
    return PriceRow(model, pool.price(model, now_unix_ms), announced, starts)
