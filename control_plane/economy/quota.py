"""Holds: tokens of the month's quota, or money of the month's spend at vendors, reserved for one attempt.

A hold is OPEN, then SETTLED or VOID, once. Units of these functions may run again after a rollback, and a
refusal is a result and no error, so that it costs its neighbours in the writer's group nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlmodel import Session

from control_plane.economy import sql
from control_plane.economy.money import MOST_HOLD_TOKENS, Tokens
from control_plane.economy.months import month_of
from control_plane.economy.terms import NewTerms, PoolPlace
from control_plane.store.economy_tables import Billing, HoldState
from control_plane.store.tables import Tier

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Held:
    """`max_tokens`: for each choice; less than was asked for only where that was shrinkable."""

    max_tokens: int
    hold_tokens: int


@dataclass(frozen=True, slots=True)
class QuotaExceeded:
    """Nothing was written. `remaining`: tokens in a pool, pico-USD at a vendor."""

    remaining: int


def hold_all(
    session: Session, items: Sequence[tuple[NewTerms, R]], save: Callable[[Session, list[R]], object]
) -> list[Held | QuotaExceeded]:
    """Reserves what each attempt may use at most, as if one after the other, and writes the terms.

    `save` writes what comes with the terms of those held, the rows of their calls and attempts, in the same
    transaction; it does not run where none was held. A card of the tenant's own is no pool card for it:
    ValueError.
    """
    sql.one_writer_at_a_time(session)
    of_month: dict[sql.Month, list[int]] = {}
    for index, (terms, _) in enumerate(items):
        _check(terms)
        of_month.setdefault(_month(terms), []).append(index)
    results: dict[int, Held | QuotaExceeded] = {}
    for month, indexes in of_month.items():
        wanted = [items[index][0] for index in indexes]
        results.update(zip(indexes, _hold(session, month, wanted), strict=True))
    kept, rows = [], []
    for index, (terms, with_terms) in enumerate(items):
        result = results[index]
        if isinstance(result, Held):
            kept.append(with_terms)
            rows.append(_row(terms, result.hold_tokens))
    if kept:
        save(session, kept)
        # What was added as objects must be there before the terms refer to it.
        session.flush()
        sql.add_terms(session, rows)
    return [results[index] for index in range(len(items))]


def hold(session: Session, terms: NewTerms, save: Callable[[Session], object]) -> Held | QuotaExceeded:
    """`hold_all` of one attempt."""
    return hold_all(session, [(terms, None)], lambda session, _: save(session))[0]


def checkpoint(session: Session, attempt_id: str, tokens: Tokens) -> bool:
    """Makes the running usage durable; False where the hold is no longer open. Never moves back."""
    return sql.move_checkpoint(session, attempt_id, tokens.prompt, tokens.completion)


def share_out(taken: int, wanted: Sequence[NewTerms]) -> list[Held | QuotaExceeded]:
    """Who is held, one after the other, where `taken` of the month is used or held already."""
    results: list[Held | QuotaExceeded] = []
    for terms in wanted:
        left = _quota(terms) - taken
        max_tokens = _max_tokens(terms, left)
        if max_tokens is None:
            results.append(QuotaExceeded(max(0, left)))
            continue
        held = Held(max_tokens, terms.prompt_tokens + terms.choices * max_tokens)
        taken += _amount(terms, held)
        results.append(held)
    return results


def _hold(session: Session, month: sql.Month, wanted: Sequence[NewTerms]) -> list[Held | QuotaExceeded]:
    """One conditional update: of all where all fit, else of those that do."""
    results: list[Held | QuotaExceeded] = [Held(terms.max_tokens, terms.hold_tokens) for terms in wanted]
    if len({_quota(terms) for terms in wanted}) == 1 and _take(session, month, wanted, results):
        return results
    results = share_out(sql.taken(session, month), wanted)
    if not _take(session, month, wanted, results):
        raise RuntimeError(
            f"the quota of {month.tenant_id} in {month.month} changed while it was shared out: does another"
            " program write to this database? Run `daalu ledger verify`"
        )
    return results


def _take(
    session: Session, month: sql.Month, wanted: Sequence[NewTerms], results: Sequence[Held | QuotaExceeded]
) -> bool:
    held = [
        (_amount(terms, result), _quota(terms))
        for terms, result in zip(wanted, results, strict=True)
        if isinstance(result, Held)
    ]
    # Each fits its own quota; the month's row keeps the largest.
    return not held or sql.take(
        session, month, sum(amount for amount, _ in held), max(quota for _, quota in held)
    )


def _month(terms: NewTerms) -> sql.Month:
    pool_id = terms.place.offer.pool_id if isinstance(terms.place, PoolPlace) else None
    return sql.Month(terms.tenant_id, month_of(terms.now_unix_ms), pool_id)


def _quota(terms: NewTerms) -> int:
    """Of the month: tokens in a pool, pico-USD at a vendor."""
    if isinstance(terms.place, PoolPlace):
        return terms.place.offer.plan.monthly_tokens
    return terms.cap_pico_usd


def _amount(terms: NewTerms, held: Held) -> int:
    return held.hold_tokens if isinstance(terms.place, PoolPlace) else terms.hold_pico_usd


def _max_tokens(terms: NewTerms, left: int) -> int | None:
    """For each choice; None where what is left does not cover the call."""
    if not isinstance(terms.place, PoolPlace):
        return terms.max_tokens if terms.hold_pico_usd <= left else None
    if terms.hold_tokens <= left:
        return terms.max_tokens
    max_tokens = min(terms.max_tokens, (left - terms.prompt_tokens) // terms.choices)
    return max_tokens if terms.shrinkable and max_tokens >= 1 else None


def _check(terms: NewTerms) -> None:
    if terms.prompt_tokens < 0 or terms.max_tokens < 0 or terms.choices < 1:
        raise ValueError("a hold is not negative, and a call has a choice at least")
    if terms.hold_tokens > MOST_HOLD_TOKENS:
        raise ValueError(f"a hold has {MOST_HOLD_TOKENS} tokens at most")
    if isinstance(terms.place, PoolPlace) and terms.place.card.tenant_id == terms.tenant_id:
        raise ValueError("a tenant's own card serves it for nothing, not as a pool's")


def _row(terms: NewTerms, hold_tokens: int) -> dict[str, Any]:
    price = terms.price
    return {
        "attempt_id": terms.attempt_id,
        "call_id": terms.call_id,
        "tenant_id": terms.tenant_id,
        "api_key_id": terms.api_key_id,
        "model": terms.model,
        "month": month_of(terms.now_unix_ms),
        "input_micro_usd_per_mtok": price.input_micro_usd_per_mtok,
        "output_micro_usd_per_mtok": price.output_micro_usd_per_mtok,
        "cached_input_micro_usd_per_mtok": price.cached_input_micro_usd_per_mtok,
        "hold_tokens": hold_tokens,
        "hold_state": str(HoldState.OPEN),
        "checkpoint_prompt_tokens": 0,
        "checkpoint_completion_tokens": 0,
        "opened_unix_ms": terms.now_unix_ms,
        **_place(terms),
    }


def _place(terms: NewTerms) -> dict[str, Any]:
    place = terms.place
    if isinstance(place, PoolPlace):
        return {
            "tier": str(Tier.POOL),
            "pool_id": place.offer.pool_id,
            "plan_id": place.offer.plan.plan_id,
            "agent_id": place.card.agent_id,
            "agent_tenant_id": place.card.tenant_id,
            "vendor": None,
            "billing": str(place.offer.plan.billing),
            "operator_card": place.card.operator_run,
            # The operator's cards earn the platform, and nobody a credit.
            "share_basis_points": 0 if place.card.operator_run else place.offer.share_basis_points,
            "hold_pico_usd": 0,
        }
    return {
        "tier": str(Tier.EXTERNAL),
        "pool_id": None,
        "plan_id": None,
        "agent_id": None,
        "agent_tenant_id": None,
        "vendor": place.vendor,
        "billing": str(Billing.INVOICED),
        "operator_card": False,
        "share_basis_points": 0,
        "hold_pico_usd": terms.hold_pico_usd,
    }
