"""Holds: tokens of the month's quota, or money of the month's spend at vendors, reserved for one attempt.

A hold is OPEN, then SETTLED or VOID, once. Units of these functions may run again after a rollback, and a
refusal is a result and no error, so that it costs its neighbours in the writer's group nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row
from sqlmodel import Session

from control_plane.economy import sql
from control_plane.economy.money import MOST_HOLD_TOKENS, Tokens
from control_plane.economy.months import month_of
from control_plane.economy.terms import NewTerms, PoolPlace
from control_plane.store.economy_tables import Billing, HoldState
from control_plane.store.tables import Tier


@dataclass(frozen=True, slots=True)
class Held:
    """`max_tokens`: for each choice; less than was asked for only where that was shrinkable."""

    max_tokens: int
    hold_tokens: int


@dataclass(frozen=True, slots=True)
class QuotaExceeded:
    """Nothing was written. `remaining`: tokens in a pool, pico-USD at a vendor."""

    remaining: int


def hold(session: Session, terms: NewTerms, save: Callable[[Session], None]) -> Held | QuotaExceeded:
    """Reserves what the attempt may use at most, and writes its terms.

    `save` writes the call's and the attempt's rows; it runs only where the hold succeeds, in the same
    transaction. A card of the tenant's own is no pool card for it: ValueError.
    """
    _check(terms)
    sql.one_writer_at_a_time(session)
    month = month_of(terms.now_unix_ms)
    if isinstance(terms.place, PoolPlace):
        max_tokens = _take_tokens(session, terms, terms.place, month)
    else:
        key = {"tenant_id": terms.tenant_id, "month": month}
        fits = sql.take(session, key, terms.hold_pico_usd, terms.cap_pico_usd) is not None
        max_tokens = terms.max_tokens if fits else None
    if max_tokens is None:
        return QuotaExceeded(_remaining(session, terms, month))
    save(session)
    # What `save` added as objects must be there before the terms refer to it.
    session.flush()
    held_tokens = terms.prompt_tokens + terms.choices * max_tokens
    sql.add_terms(session, _row(terms, month, held_tokens))
    return Held(max_tokens, held_tokens)


def checkpoint(session: Session, attempt_id: str, tokens: Tokens) -> bool:
    """Makes the running usage durable; False where the hold is no longer open. Never moves back."""
    return sql.move_checkpoint(session, attempt_id, tokens.prompt, tokens.completion)


def void(session: Session, attempt_id: str) -> bool:
    """Gives the whole hold back; False where it was resolved before, or never was."""
    sql.one_writer_at_a_time(session)
    row = sql.void_terms(session, attempt_id)
    if row is None:
        return False
    release(session, row, used_tokens=0, used_pico_usd=0)
    return True


def release(session: Session, row: "Row[Any]", *, used_tokens: int, used_pico_usd: int) -> None:
    """Moves the used part of a resolved hold to the month's use, and frees the rest."""
    if row.pool_id is not None:
        key = {"tenant_id": row.tenant_id, "pool_id": row.pool_id, "month": row.month}
        sql.resolve(session, key, row.hold_tokens, used_tokens)
    else:
        sql.resolve(
            session, {"tenant_id": row.tenant_id, "month": row.month}, row.hold_pico_usd, used_pico_usd
        )


def _take_tokens(session: Session, terms: NewTerms, place: PoolPlace, month: str) -> int | None:
    """The max_tokens of each choice that were held; None where the quota does not cover the call."""
    quota = place.offer.plan.monthly_tokens
    key = {"tenant_id": terms.tenant_id, "pool_id": place.offer.pool_id, "month": month}
    if sql.take(session, key, terms.hold_tokens, quota) is not None:
        return terms.max_tokens
    if not terms.shrinkable:
        return None
    left = quota - sql.taken(session, key)
    max_tokens = min(terms.max_tokens, (left - terms.prompt_tokens) // terms.choices)
    if max_tokens < 1:
        return None
    hold_tokens = terms.prompt_tokens + terms.choices * max_tokens
    return max_tokens if sql.take(session, key, hold_tokens, quota) is not None else None


def _remaining(session: Session, terms: NewTerms, month: str) -> int:
    key: dict[str, str] = {"tenant_id": terms.tenant_id, "month": month}
    quota = terms.cap_pico_usd
    if isinstance(terms.place, PoolPlace):
        key["pool_id"] = terms.place.offer.pool_id
        quota = terms.place.offer.plan.monthly_tokens
    return max(0, quota - sql.taken(session, key))


def _check(terms: NewTerms) -> None:
    if terms.prompt_tokens < 0 or terms.max_tokens < 0 or terms.choices < 1:
        raise ValueError("a hold is not negative, and a call has a choice at least")
    if terms.hold_tokens > MOST_HOLD_TOKENS:
        raise ValueError(f"a hold has {MOST_HOLD_TOKENS} tokens at most")
    if isinstance(terms.place, PoolPlace) and terms.place.card.tenant_id == terms.tenant_id:
        raise ValueError("a tenant's own card serves it for nothing, not as a pool's")


def _row(terms: NewTerms, month: str, hold_tokens: int) -> dict[str, Any]:
    row = {
        "attempt_id": terms.attempt_id,
        "call_id": terms.call_id,
        "tenant_id": terms.tenant_id,
        "api_key_id": terms.api_key_id,
        "model": terms.model,
        "month": month,
        "input_micro_usd_per_mtok": terms.price.input_micro_usd_per_mtok,
        "output_micro_usd_per_mtok": terms.price.output_micro_usd_per_mtok,
        "cached_input_micro_usd_per_mtok": terms.price.cached_input_micro_usd_per_mtok,
        "hold_tokens": hold_tokens,
        "hold_state": HoldState.OPEN.value,
        "checkpoint_prompt_tokens": 0,
        "checkpoint_completion_tokens": 0,
        "opened_unix_ms": terms.now_unix_ms,
    }
    place = terms.place
    if isinstance(place, PoolPlace):
        return row | {
            "tier": Tier.POOL.value,
            "pool_id": place.offer.pool_id,
            "plan_id": place.offer.plan.plan_id,
            "agent_id": place.card.agent_id,
            "agent_tenant_id": place.card.tenant_id,
            "vendor": None,
            "billing": place.offer.plan.billing.value,
            "operator_card": place.card.operator_run,
            # The operator's cards earn the platform, and nobody a credit.
            "share_basis_points": 0 if place.card.operator_run else place.offer.share_basis_points,
            "hold_pico_usd": 0,
        }
    return row | {
        "tier": Tier.EXTERNAL.value,
        "pool_id": None,
        "plan_id": None,
        "agent_id": None,
        "agent_tenant_id": None,
        "vendor": place.vendor,
        "billing": Billing.INVOICED.value,
        "operator_card": False,
        "share_basis_points": 0,
        "hold_pico_usd": terms.hold_pico_usd,
    }
