"""Settlement: a call's usage becomes its charge and its credit, once, with the end of its hold."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row
from sqlmodel import Session

from control_plane.economy import sql
from control_plane.economy.ledger import Provider, Transaction, post, settlement_entries
from control_plane.economy.money import (
    PriceTerms,
    Tokens,
    charge_pico_usd,
    credit_pico_usd,
    payable_tokens,
    within_hold,
)
from control_plane.economy.months import month_of
from control_plane.economy.quota import release
from control_plane.identifiers import AgentId, ApiKeyId, AttemptId, CallId, TenantId
from control_plane.store.economy_tables import Billing, TransactionKind, UsageRecord
from control_plane.store.tables import Tier


class NothingHeld(Exception):
    """The attempt has no open hold, and its call was not settled: it was void, or never made."""


@dataclass(frozen=True, slots=True)
class SettleFacts:
    """How a pool or external call ended.

    `claimed`: the engine's own count. `counted`: the gateway's, needed where a third-party card served.
    """

    call_id: CallId
    attempt_id: AttemptId
    claimed: Tokens | None
    counted: Tokens | None
    now_unix_ms: int


@dataclass(frozen=True, slots=True)
class OwnFacts:
    """How a call on the tenant's own card ended."""

    call_id: CallId
    attempt_id: AttemptId
    tenant_id: TenantId
    api_key_id: ApiKeyId
    agent_id: AgentId
    model: str
    tokens: Tokens
    now_unix_ms: int


@dataclass(frozen=True, slots=True)
class Settled:
    """`first`: by this call; else what was settled before, and nothing was changed."""

    attempt_id: AttemptId
    tokens: Tokens
    charge_pico_usd: int
    credit_pico_usd: int
    first: bool


def settle(session: Session, facts: SettleFacts) -> Settled:
    """Ends the hold, records the usage and posts the money, in the caller's transaction.

    Raises NothingHeld; ValueError where the tokens of a third-party card were not counted.
    """
    sql.one_writer_at_a_time(session)
    row = sql.settle_terms(session, facts.attempt_id, facts.call_id)
    if row is None:
        return _settled_before(session, facts.call_id)
    # A vendor is no operator card, but its word is all there is, as the card's owner's is not.
    trusted = row.operator_card or row.vendor is not None
    tokens = within_hold(payable_tokens(facts.claimed, facts.counted, operator_card=trusted), row.hold_tokens)
    charge, credit = charge_and_credit(row, tokens)
    release(session, row, used_tokens=tokens.prompt + tokens.completion, used_pico_usd=charge)
    sql.add_usage(session, _usage(row, facts, tokens, charge, credit))
    provider = None
    if row.agent_id is not None and not row.operator_card:
        provider = Provider(row.agent_tenant_id, row.agent_id)
    post(
        session,
        Transaction(TransactionKind.SETTLEMENT, row.tenant_id, row.month, facts.now_unix_ms, facts.call_id),
        settlement_entries(row.tenant_id, provider, Billing(row.billing), charge, credit),
    )
    return Settled(facts.attempt_id, tokens, charge, credit, first=True)


def settle_own(session: Session, facts: OwnFacts) -> Settled:
    """Records the usage of an own-card call, at no charge. Again: what was recorded."""
    before = session.get(UsageRecord, facts.call_id)
    if before is not None:
        return _as_settled(before)
    tokens = facts.tokens
    sql.add_usage(
        session,
        {
            "call_id": facts.call_id,
            "attempt_id": facts.attempt_id,
            "tenant_id": facts.tenant_id,
            "api_key_id": facts.api_key_id,
            "tier": Tier.OWN.value,
            "agent_id": facts.agent_id,
            "agent_tenant_id": facts.tenant_id,
            "model": facts.model,
            "month": month_of(facts.now_unix_ms),
            "prompt_tokens": tokens.prompt,
            "cached_prompt_tokens": tokens.cached_prompt,
            "completion_tokens": tokens.completion,
            "claimed_prompt_tokens": tokens.prompt,
            "claimed_completion_tokens": tokens.completion,
            "charge_pico_usd": 0,
            "credit_pico_usd": 0,
            "settled_unix_ms": facts.now_unix_ms,
        },
    )
    return Settled(facts.attempt_id, tokens, 0, 0, first=True)


def charge_and_credit(row: Any, tokens: Tokens) -> tuple[int, int]:
    """By an attempt's frozen terms. At a vendor a charge never exceeds the money held."""
    price = PriceTerms(
        row.input_micro_usd_per_mtok, row.output_micro_usd_per_mtok, row.cached_input_micro_usd_per_mtok
    )
    charge = charge_pico_usd(price, tokens, operator_card=row.operator_card)
    if row.vendor is not None:
        charge = min(charge, row.hold_pico_usd)
    return charge, credit_pico_usd(charge, row.share_basis_points)


def _settled_before(session: Session, call_id: str) -> Settled:
    before = session.get(UsageRecord, call_id)
    if before is None:
        raise NothingHeld(f"nothing is held for call {call_id}")
    return _as_settled(before)


def _as_settled(row: UsageRecord) -> Settled:
    return Settled(
        AttemptId(row.attempt_id),
        Tokens(row.prompt_tokens, row.completion_tokens, row.cached_prompt_tokens),
        row.charge_pico_usd,
        row.credit_pico_usd,
        first=False,
    )


def _usage(row: "Row[Any]", facts: SettleFacts, tokens: Tokens, charge: int, credit: int) -> dict[str, Any]:
    claimed, counted = facts.claimed, facts.counted
    return {
        "call_id": facts.call_id,
        "attempt_id": facts.attempt_id,
        "tenant_id": row.tenant_id,
        "api_key_id": row.api_key_id,
        "tier": row.tier,
        "pool_id": row.pool_id,
        "agent_id": row.agent_id,
        "agent_tenant_id": row.agent_tenant_id,
        "vendor": row.vendor,
        "model": row.model,
        "month": row.month,
        "billing": row.billing,
        "prompt_tokens": tokens.prompt,
        "cached_prompt_tokens": tokens.cached_prompt,
        "completion_tokens": tokens.completion,
        "claimed_prompt_tokens": claimed.prompt if claimed is not None else None,
        "claimed_completion_tokens": claimed.completion if claimed is not None else None,
        "counted_prompt_tokens": counted.prompt if counted is not None else None,
        "counted_completion_tokens": counted.completion if counted is not None else None,
        "charge_pico_usd": charge,
        "credit_pico_usd": credit,
        "settled_unix_ms": facts.now_unix_ms,
    }
