"""Settlement: a call's usage becomes its charge and its credit, once, with the end of its hold."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sqlmodel import Session

from control_plane.economy import sql
from control_plane.economy.ledger import (
    Entry,
    Provider,
    Transaction,
    post_all,
    reverse_once,
    settlement_entries,
)
from control_plane.economy.money import (
    PriceTerms,
    Tokens,
    charge_pico_usd,
    credit_pico_usd,
    payable_tokens,
    within_hold,
)
from control_plane.economy.months import month_of
from control_plane.identifiers import AgentId, ApiKeyId, AttemptId, CallId, TenantId
from control_plane.store.economy_tables import Billing, HoldState, TransactionKind
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
class Voided:
    """Nothing of an answer was delivered: the whole hold is given back."""

    attempt_id: AttemptId


@dataclass(frozen=True, slots=True)
class TakenBack:
    """An answer was there, and its client got none of it, since nobody knew whether its settlement was
    written: the hold is given back, or what was settled is reversed."""

    call_id: CallId
    attempt_id: AttemptId


Ending: TypeAlias = OwnFacts | SettleFacts | TakenBack | Voided

# Who reverses what an outage made the client lose.
GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class Settled:
    """`first`: by this call; else what was settled before, and nothing was changed.

    Of Voided and TakenBack: nothing is charged, and `first` where this gave a hold back.
    """

    attempt_id: AttemptId
    tokens: Tokens
    charge_pico_usd: int
    credit_pico_usd: int
    first: bool


def settle_all(session: Session, endings: Sequence[Ending]) -> list[Settled | None]:
    """Ends holds, records usage and posts the money, in the caller's transaction.

    As if one after the other, with few statements for all. None where there is no open hold and the call
    was not settled: it was void, or never made. Raises ValueError where the tokens of a third-party card
    were not counted.
    """
    sql.one_writer_at_a_time(session)
    results: dict[int, Settled | None] = {}
    for indexes in _rounds(endings):
        now = _Round()
        ended = now.end_all(session, [endings[index] for index in indexes])
        results.update(zip(indexes, ended, strict=True))
        now.write(session)
    return [results[index] for index in range(len(endings))]


def settle(session: Session, facts: SettleFacts | OwnFacts) -> Settled:
    """`settle_all` of one call. Raises NothingHeld."""
    [settled] = settle_all(session, [facts])
    if settled is None:
        raise NothingHeld(f"nothing is held for call {facts.call_id}")
    return settled


def settle_own(session: Session, facts: OwnFacts) -> Settled:
    """Records the usage of an own-card call, at no charge. Again: what was recorded."""
    return settle(session, facts)


def void(session: Session, attempt_id: str) -> bool:
    """Gives the whole hold back; False where it was resolved before, or never was."""
    [settled] = settle_all(session, [Voided(AttemptId(attempt_id))])
    return settled is not None and settled.first


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


def _rounds(endings: Sequence[Ending]) -> Iterator[list[int]]:
    """Indexes of endings that have neither a call nor an attempt in common; those that do, in their order."""
    left = list(range(len(endings)))
    while left:
        seen: set[str] = set()
        now: list[int] = []
        later: list[int] = []
        for index in left:
            each = endings[index]
            ids = {each.attempt_id} if isinstance(each, Voided) else {each.attempt_id, each.call_id}
            (now if seen.isdisjoint(ids) else later).append(index)
            seen |= ids
        yield now
        left = later


@dataclass(slots=True)
class _Round:
    """What a round of endings comes to, gathered so that each table is written once."""

    ended: dict[HoldState, list[str]] = field(default_factory=dict)
    # By month: what was held, and what of it is used.
    released: dict[sql.Month, tuple[int, int]] = field(default_factory=dict)
    usage: list[dict[str, Any]] = field(default_factory=list)
    posted: list[tuple[Transaction, tuple[Entry, ...]]] = field(default_factory=list)
    # Calls whose settlement is to be taken back.
    reversed: list[CallId] = field(default_factory=list)

    def end_all(self, session: Session, endings: Sequence[Ending]) -> list[Settled | None]:
        """By what is in the store; no two of them touch the same call or attempt."""
        held = sql.read_terms(
            session, [each.attempt_id for each in endings if not isinstance(each, OwnFacts)]
        )
        calls = [each.call_id for each in endings if not isinstance(each, Voided)]
        recorded = sql.read_recorded(session, calls)
        return [self._end(each, held.get(each.attempt_id), recorded) for each in endings]

    def write(self, session: Session) -> None:
        for state, attempt_ids in self.ended.items():
            sql.end_terms(session, attempt_ids, state)
        for month, (hold, used) in self.released.items():
            sql.resolve(session, month, hold, used)
        sql.add_usage(session, self.usage)
        post_all(session, self.posted)
        for call_id in self.reversed:
            reverse_once(session, call_id, actor=GATEWAY)

    def _end(
        self, ending: Ending, terms: sql.HeldTerms | None, recorded: Mapping[str, sql.Recorded]
    ) -> Settled | None:
        is_open = terms is not None and terms.hold_state == HoldState.OPEN
        match ending:
            case Voided() | TakenBack():
                if terms is not None and is_open:
                    self._release(HoldState.VOID, terms, 0, 0)
                elif isinstance(ending, TakenBack) and _was_settled(ending, recorded):
                    self.reversed.append(ending.call_id)
                return Settled(ending.attempt_id, Tokens(0, 0), 0, 0, first=is_open)
            case _ if before := recorded.get(ending.call_id):
                return _settled_before(before)
            case OwnFacts():
                self.usage.append(_own_usage(ending))
                return Settled(ending.attempt_id, ending.tokens, 0, 0, first=True)
            case SettleFacts() if terms is not None and is_open and terms.call_id == ending.call_id:
                return self._settle(ending, terms)
            case _:
                return None

    def _settle(self, facts: SettleFacts, terms: sql.HeldTerms) -> Settled:
        # A vendor is no operator card, but its word is all there is, as the card's owner's is not.
        trusted = bool(terms.operator_card) or terms.vendor is not None
        payable = payable_tokens(facts.claimed, facts.counted, operator_card=trusted)
        tokens = within_hold(payable, terms.hold_tokens)
        charge, credit = charge_and_credit(terms, tokens)
        self._release(HoldState.SETTLED, terms, tokens.prompt + tokens.completion, charge)
        self.usage.append(_usage(terms, facts, tokens, charge, credit))
        provider = None
        if terms.agent_id is not None and terms.agent_tenant_id is not None and not terms.operator_card:
            provider = Provider(terms.agent_tenant_id, terms.agent_id)
        transaction = Transaction(
            TransactionKind.SETTLEMENT, terms.tenant_id, terms.month, facts.now_unix_ms, facts.call_id
        )
        entries = settlement_entries(terms.tenant_id, provider, Billing(terms.billing), charge, credit)
        self.posted.append((transaction, entries))
        return Settled(facts.attempt_id, tokens, charge, credit, first=True)

    def _release(self, state: HoldState, terms: sql.HeldTerms, used_tokens: int, used_pico_usd: int) -> None:
        self.ended.setdefault(state, []).append(terms.attempt_id)
        hold, used = terms.hold_tokens, used_tokens
        if terms.pool_id is None:
            hold, used = terms.hold_pico_usd, used_pico_usd
        month = sql.Month(terms.tenant_id, terms.month, terms.pool_id)
        before = self.released.get(month, (0, 0))
        self.released[month] = (before[0] + hold, before[1] + used)


def _was_settled(ending: TakenBack, recorded: Mapping[str, sql.Recorded]) -> bool:
    row = recorded.get(ending.call_id)
    return row is not None and row.attempt_id == ending.attempt_id


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
        "tier": str(Tier.OWN),
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
