"""Settlement: a call's usage becomes its charge and its credit, once, with the end of its hold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from sqlmodel import Session

from control_plane.economy import sql
from control_plane.economy.ledger import Entry, Provider, Transaction, post_all, settlement_entries
from control_plane.economy.money import (
    PriceTerms,
    Tokens,
    charge_pico_usd,
    credit_pico_usd,
    payable_tokens,
    within_hold,
)
from control_plane.economy.months import month_of
from control_plane.economy.quota import Save, save_rows
from control_plane.identifiers import AgentId, ApiKeyId, AttemptId, CallId, TenantId
from control_plane.store.economy_tables import Billing, HoldState, TransactionKind
from control_plane.store.tables import Tier

R = TypeVar("R")


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
class VoidFacts:
    """An attempt ended before any content: its hold is given back whole, where it has one."""

    attempt_id: AttemptId


@dataclass(frozen=True, slots=True)
class SettleItem(Generic[R]):
    """The end of an attempt. `rows`: the call's and its attempts', which `save` writes in the same
    transaction, once for all items of a batch that have the same `save`."""

    facts: SettleFacts | OwnFacts | VoidFacts
    rows: R
    save: Save[R]


@dataclass(frozen=True, slots=True)
class Settled:
    """`first`: by this call; else what was settled before, and nothing of it was changed.

    Of VoidFacts: nothing charged, and `first` where this gave the hold back.
    """

    attempt_id: AttemptId
    tokens: Tokens
    charge_pico_usd: int
    credit_pico_usd: int
    first: bool


def settle_all(session: Session, items: Sequence[SettleItem[R]]) -> list[Settled]:
    """Ends holds, records usage, posts the money and writes the rows, in the caller's transaction.

    As if one after the other, but with a few statements for all. Raises NothingHeld; ValueError where the
    tokens of a third-party card were not counted.
    """
    sql.one_writer_at_a_time(session)
    results: dict[int, Settled] = {}
    for indexes in _rounds([item.facts for item in items]):
        batch = [items[index] for index in indexes]
        ends = _ends(session, [item.facts for item in batch])
        # Before the usage, which refers to the rows.
        save_rows(session, [(item.save, item.rows) for item in batch])
        ends.write(session)
        results.update(zip(indexes, ends.results, strict=True))
    return [results[index] for index in range(len(items))]


def settle(session: Session, facts: SettleFacts) -> Settled:
    """`settle_all` of one call, whose rows are written elsewhere."""
    return _alone(session, facts)


def settle_own(session: Session, facts: OwnFacts) -> Settled:
    """Records the usage of an own-card call, at no charge. Again: what was recorded."""
    return _alone(session, facts)


def void(session: Session, attempt_id: AttemptId) -> bool:
    """Gives the whole hold back; False where it was resolved before, or never was."""
    return _alone(session, VoidFacts(attempt_id)).first


def charge_and_credit(terms: Any, tokens: Tokens) -> tuple[int, int]:
    """By an attempt's frozen terms. At a vendor a charge never exceeds the money held."""
    price = PriceTerms(
        terms.input_micro_usd_per_mtok,
        terms.output_micro_usd_per_mtok,
        terms.cached_input_micro_usd_per_mtok,
    )
    charge = charge_pico_usd(price, tokens, operator_card=terms.operator_card)
    if terms.vendor is not None:
        charge = min(charge, terms.hold_pico_usd)
    return charge, credit_pico_usd(charge, terms.share_basis_points)


def no_rows(_session: Session, _rows: list[None]) -> None:
    """The `save` of an item without rows."""


def _alone(session: Session, facts: SettleFacts | OwnFacts | VoidFacts) -> Settled:
    return settle_all(session, [SettleItem(facts, None, no_rows)])[0]


def _rounds(facts: Sequence[SettleFacts | OwnFacts | VoidFacts]) -> Iterator[list[int]]:
    """Indexes of ends that have neither a call nor an attempt in common; those that do, in their order."""
    left = list(range(len(facts)))
    while left:
        seen: set[str] = set()
        now, later = [], []
        for index in left:
            each = facts[index]
            ids = {each.attempt_id} if isinstance(each, VoidFacts) else {each.attempt_id, each.call_id}
            (now if seen.isdisjoint(ids) else later).append(index)
            seen |= ids
        yield now
        left = later


@dataclass(slots=True)
class _Ends:
    """What a batch of ends comes to, gathered so that each table is written once."""

    results: list[Settled] = field(default_factory=list)
    ended: dict[HoldState, list[str]] = field(default_factory=dict)
    # By month: what was held, and what of it is used.
    released: dict[sql.Month, tuple[int, int]] = field(default_factory=dict)
    usage: list[dict[str, Any]] = field(default_factory=list)
    posted: list[tuple[Transaction, tuple[Entry, ...]]] = field(default_factory=list)

    def settle(self, facts: SettleFacts, terms: sql.HeldTerms) -> None:
        # A vendor is no operator card, but its word is all there is, as the card's owner's is not.
        trusted = bool(terms.operator_card) or terms.vendor is not None
        tokens = within_hold(
            payable_tokens(facts.claimed, facts.counted, operator_card=trusted), terms.hold_tokens
        )
        charge, credit = charge_and_credit(terms, tokens)
        self._release(HoldState.SETTLED, terms, tokens.prompt + tokens.completion, charge)
        self.usage.append(_usage(terms, facts, tokens, charge, credit))
        provider = None
        if terms.agent_id is not None and terms.agent_tenant_id is not None and not terms.operator_card:
            provider = Provider(terms.agent_tenant_id, terms.agent_id)
        self.posted.append(
            (
                Transaction(
                    TransactionKind.SETTLEMENT,
                    terms.tenant_id,
                    terms.month,
                    facts.now_unix_ms,
                    facts.call_id,
                ),
                settlement_entries(terms.tenant_id, provider, Billing(terms.billing), charge, credit),
            )
        )
        self.results.append(Settled(facts.attempt_id, tokens, charge, credit, first=True))

    def settle_own(self, facts: OwnFacts) -> None:
        self.usage.append(_own_usage(facts))
        self.results.append(Settled(facts.attempt_id, facts.tokens, 0, 0, first=True))

    def void(self, attempt_id: AttemptId, terms: sql.HeldTerms | None) -> None:
        held = terms is not None and terms.hold_state == HoldState.OPEN
        if terms is not None and held:
            self._release(HoldState.VOID, terms, 0, 0)
        self.results.append(Settled(attempt_id, Tokens(0, 0), 0, 0, first=held))

    def write(self, session: Session) -> None:
        for state, attempt_ids in self.ended.items():
            sql.end_terms(session, attempt_ids, state)
        for month, (hold, used) in self.released.items():
            sql.resolve(session, month, hold, used)
        sql.add_usage(session, self.usage)
        post_all(session, self.posted)

    def _release(self, state: HoldState, terms: sql.HeldTerms, used_tokens: int, used_pico_usd: int) -> None:
        self.ended.setdefault(state, []).append(terms.attempt_id)
        month = sql.Month(terms.tenant_id, terms.month, terms.pool_id)
        hold, used = terms.hold_tokens, used_tokens
        if terms.pool_id is None:
            hold, used = terms.hold_pico_usd, used_pico_usd
        before = self.released.get(month, (0, 0))
        self.released[month] = (before[0] + hold, before[1] + used)


def _ends(session: Session, facts: Sequence[SettleFacts | OwnFacts | VoidFacts]) -> _Ends:
    """What these come to, by what is in the store; no two of them touch the same call or attempt."""
    held = sql.read_terms(session, [each.attempt_id for each in facts if not isinstance(each, OwnFacts)])
    recorded = sql.read_recorded(session, [each.call_id for each in facts if not isinstance(each, VoidFacts)])
    ends = _Ends()
    for each in facts:
        terms = held.get(each.attempt_id)
        if isinstance(each, VoidFacts):
            ends.void(each.attempt_id, terms)
        elif before := recorded.get(each.call_id):
            ends.results.append(_settled_before(before))
        elif isinstance(each, OwnFacts):
            ends.settle_own(each)
        elif terms is None or terms.call_id != each.call_id or terms.hold_state != HoldState.OPEN:
            raise NothingHeld(f"nothing is held for call {each.call_id}")
        else:
            ends.settle(each, terms)
    return ends


def _settled_before(row: sql.Recorded) -> Settled:
    return Settled(
        AttemptId(row.attempt_id),
        Tokens(row.prompt_tokens, row.completion_tokens, row.cached_prompt_tokens),
        row.charge_pico_usd,
        row.credit_pico_usd,
        first=False,
    )


def _usage(
    terms: sql.HeldTerms, facts: SettleFacts, tokens: Tokens, charge: int, credit: int
) -> dict[str, Any]:
    claimed, counted = facts.claimed, facts.counted
    return {
        "call_id": facts.call_id,
        "attempt_id": facts.attempt_id,
        "tenant_id": terms.tenant_id,
        "api_key_id": terms.api_key_id,
        "tier": terms.tier,
        "pool_id": terms.pool_id,
        "agent_id": terms.agent_id,
        "agent_tenant_id": terms.agent_tenant_id,
        "vendor": terms.vendor,
        "model": terms.model,
        "month": terms.month,
        "billing": terms.billing,
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


def _own_usage(facts: OwnFacts) -> dict[str, Any]:
    tokens = facts.tokens
    return {
        "call_id": facts.call_id,
        "attempt_id": facts.attempt_id,
        "tenant_id": facts.tenant_id,
        "api_key_id": facts.api_key_id,
        "tier": Tier.OWN.value,
        "pool_id": None,
        "agent_id": facts.agent_id,
        "agent_tenant_id": facts.tenant_id,
        "vendor": None,
        "model": facts.model,
        "month": month_of(facts.now_unix_ms),
        "billing": None,
        "prompt_tokens": tokens.prompt,
        "cached_prompt_tokens": tokens.cached_prompt,
        "completion_tokens": tokens.completion,
        "claimed_prompt_tokens": tokens.prompt,
        "claimed_completion_tokens": tokens.completion,
        "counted_prompt_tokens": None,
        "counted_completion_tokens": None,
        "charge_pico_usd": 0,
        "credit_pico_usd": 0,
        "settled_unix_ms": facts.now_unix_ms,
    }
