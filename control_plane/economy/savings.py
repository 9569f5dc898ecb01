"""What own-card calls would have cost in the hosted pools, at the prices of the moment of each call."""

from dataclasses import dataclass

from sqlalchemy import func
from sqlmodel import Session, col, select

from control_plane.economy.money import PriceTerms, Tokens, charge_pico_usd
from control_plane.economy.span import Span
from control_plane.economy.spending import calls_within
from control_plane.store.economy_tables import Pool, PoolKind, Price, UsageRecord
from control_plane.store.tables import Call, Tier


@dataclass(frozen=True, slots=True)
class Saving:
    """A tenant's own-card calls of a model against one hosted pool.

    `hosted_pico_usd` is exact: tokens times price has no fraction. None: the pool had no price for any of the
    calls ("not priced"). Tokens that came from the own card's prefix cache are counted at the pool's cached
    price, so the saving is never overstated by them.
    """

    tenant_id: str
    model: str
    pool_id: str
    pool_name: str
    calls: int
    unpriced_calls: int
    prompt_tokens: int
    completion_tokens: int
    hosted_pico_usd: int | None


@dataclass(slots=True)
class _Sum:
    calls: int = 0
    unpriced_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    hosted_pico_usd: int = 0


def savings(session: Session, span: Span, *, tenant_id: str | None = None) -> list[Saving]:
    """None of them where there is no hosted pool, or no own-card call."""
    found = []
    for pool in session.exec(select(Pool).where(Pool.kind == PoolKind.HOSTED).order_by(col(Pool.name))):
        found += _against(session, pool, span, tenant_id)
    return sorted(found, key=lambda each: (each.tenant_id, each.model, each.pool_name))


def _against(session: Session, pool: Pool, span: Span, tenant_id: str | None) -> list[Saving]:
    prices = {
        (row.model, row.starts_unix_ms): PriceTerms(
            row.input_micro_usd_per_mtok,
            row.output_micro_usd_per_mtok,
            row.cached_input_micro_usd_per_mtok,
        )
        for row in session.exec(select(Price).where(Price.pool_id == pool.id))
    }
    in_force = (
        select(func.max(Price.starts_unix_ms))
        .where(
            col(Price.pool_id) == pool.id,
            col(Price.model) == col(UsageRecord.model),
            col(Price.starts_unix_ms) <= col(Call.started_unix_ms),
        )
        .correlate(UsageRecord, Call)
        .scalar_subquery()
        .label("price_starts")
    )
    query = (
        select(  # type: ignore[call-overload]  # more columns than the overloads have
            UsageRecord.tenant_id,
            UsageRecord.model,
            in_force,
            func.count(),
            func.sum(UsageRecord.prompt_tokens),
            func.sum(UsageRecord.completion_tokens),
            func.sum(UsageRecord.cached_prompt_tokens),
        )
        .select_from(Call)
        .join(UsageRecord, col(UsageRecord.call_id) == col(Call.id))
        .where(*calls_within(span, tenant_id), col(UsageRecord.tier) == Tier.OWN)
        .group_by(col(UsageRecord.tenant_id), col(UsageRecord.model), in_force)
    )
    sums: dict[tuple[str, str], _Sum] = {}
    for owner, model, starts, calls, prompt, completion, cached in session.exec(query):
        into = sums.setdefault((owner, model), _Sum())
        into.calls += calls
        into.prompt_tokens += int(prompt)
        into.completion_tokens += int(completion)
        if starts is None:
            into.unpriced_calls += calls
        else:
            tokens = Tokens(int(prompt), int(completion), int(cached))
            into.hosted_pico_usd += charge_pico_usd(prices[model, starts], tokens, operator_card=True)
    return [
        Saving(
            owner,
            model,
            pool.id,
            pool.name,
            each.calls,
            each.unpriced_calls,
            each.prompt_tokens,
            each.completion_tokens,
            each.hosted_pico_usd if each.unpriced_calls < each.calls else None,
        )
        for (owner, model), each in sums.items()
    ]
