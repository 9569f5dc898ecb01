"""The calls pages' reads of the store. The tenant is part of every one of them."""

import json
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session, col, select

from control_plane.access import Invalid, Unknown
from control_plane.api import CallResponse, CallRow, CallSearch, attempts_of, find_call, list_calls
from control_plane.console.call_story import Place, Story, place_of_attempt, story
from control_plane.console.usage_queries import agent_names
from control_plane.economy import PriceTerms
from control_plane.identifiers import TenantId
from control_plane.store.economy_tables import AttemptTerms, LedgerTransaction, Pool, TransactionKind
from control_plane.store.tables import ApiKey, Attempt, Call

MOST_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Tried:
    """An attempt, where the call's tenant may know that it was made."""

    attempt: Attempt
    place: Place
    # Frozen with it; None on an own card, where there is none.
    price: PriceTerms | None
    hold_tokens: int | None

    @property
    def lasted_ms(self) -> int | None:
        ended = self.attempt.ended_unix_ms
        return None if ended is None else ended - self.attempt.started_unix_ms


@dataclass(frozen=True, slots=True)
class WholeCall:
    row: CallRow
    key: ApiKey | None
    story: Story
    tried: list[Tried]
    # What the last attempt says; None: it went nowhere.
    served: Place | None
    is_reversed: bool


def whole_call(session: Session, tenant_id: TenantId, call_id: str) -> WholeCall:
    """Raises Unknown, also of another tenant's."""
    if not call_id.isprintable():
        raise Unknown("call", call_id[:50])
    row, key = find_call(session, call_id, tenant_id=tenant_id)
    own = agent_names(session, tenant_id)
    terms = _terms(session, row.call)
    tried = []
    for attempt, _ in attempts_of(session, call_id):
        frozen, pool = terms.get(attempt.id, (None, None))
        vendor = frozen.vendor if frozen is not None else None
        place = place_of_attempt(attempt.tier, attempt.agent_id, pool, vendor, own)
        price = _price(frozen) if frozen is not None else None
        tried.append(Tried(attempt, place, price, frozen.hold_tokens if frozen is not None else None))
    reversal = select(LedgerTransaction.id).where(
        LedgerTransaction.call_id == call_id, LedgerTransaction.kind == TransactionKind.REVERSAL
    )
    return WholeCall(
        row,
        key,
        story(json.loads(row.call.decision), own),
        tried,
        tried[-1].place if tried and row.call.tier is not None else None,
        session.exec(reversal).first() is not None,
    )


def as_rows(session: Session, tenant_id: TenantId, search: CallSearch) -> list[CallResponse]:
    """What the REST interface answers of these calls, less what is others': names of their cards, and what
    they earned. Raises Invalid beyond MOST_ROWS."""
    rows = list_calls(session, search, before=None, limit=MOST_ROWS + 1)
    if len(rows) > MOST_ROWS:
        raise Invalid(f"These are more than {MOST_ROWS:,} calls: choose fewer days.")
    own = agent_names(session, tenant_id)
    return [_without_others(CallResponse.of(row), own) for row in rows]


def _without_others(answer: CallResponse, own: Container[str | None]) -> CallResponse:
    hidden: dict[str, Any] = {"credit_pico_usd": None}
    if answer.agent_id not in own:
        hidden |= {"agent_id": None, "agent_name": None}
    return answer.model_copy(update=hidden)


def _terms(session: Session, call: Call) -> dict[str, tuple[AttemptTerms, str | None]]:
    query = (
        select(AttemptTerms, Pool.name)
        .join(Pool, col(Pool.id) == col(AttemptTerms.pool_id), isouter=True)
        .where(AttemptTerms.call_id == call.id, AttemptTerms.tenant_id == call.tenant_id)
    )
    return {terms.attempt_id: (terms, pool) for terms, pool in session.exec(query)}


def _price(terms: AttemptTerms) -> PriceTerms:
    return PriceTerms(
        terms.input_micro_usd_per_mtok,
        terms.output_micro_usd_per_mtok,
        terms.cached_input_micro_usd_per_mtok,
    )
