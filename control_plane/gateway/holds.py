"""What one call reserves before it is dispatched to a shared card or a vendor, and what becomes of it.

A call takes its place in a pool's limits once, and a hold of tokens (in a pool) or of money (at a vendor)
for each attempt. An own-card attempt reserves nothing.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from control_plane.economy import (
    MOST_HOLD_TOKENS,
    Admitted,
    Ending,
    Limited,
    LimitTable,
    NewTerms,
    OwnFacts,
    PoolOffer,
    PoolPlace,
    QuotaExceeded,
    SettleFacts,
    Tokens,
    VendorPlace,
    Voided,
)
from control_plane.gateway.book import Book
from control_plane.gateway.errors import Condition, Refusal
from control_plane.gateway.record import AttemptRecord, CallRecord
from control_plane.identifiers import PoolId
from control_plane.router import AtVendor, Denial, OwnCard, PoolCandidate
from control_plane.store import unix_ms
from control_plane.store.tables import Tier

# Asked of a vendor where the call names no max_tokens.
VENDORS_DEFAULT_OUTPUT_TOKENS = 1_024
# What a prompt's bytes are taken for where an estimate is enough: it is refunded later.
BYTES_PER_TOKEN = 4
# For what is left of a context: less than the usual four, so that the answer still fits.
FEWEST_CHARACTERS_PER_TOKEN = 3


class Denied(Exception):
    """The candidate's pool or vendor would not take the call; nothing was reserved."""

    def __init__(self, denial: Denial, condition: Condition) -> None:
        super().__init__(denial.words)
        self.denial = denial
        self.condition = condition


@dataclass(frozen=True, slots=True)
class Reserving:
    """What all calls of a process reserve from."""

    book: Book
    limits: LimitTable
    # Gateways that share the limits, this one included.
    processes: Callable[[], int]


@dataclass(frozen=True, slots=True)
class _Place:
    """A call's place in a pool's limits."""

    offer: PoolOffer
    tokens: int
    verdict: Admitted


class Holds:
    """Of one call. release() is to be called whatever happens."""

    def __init__(self, reserving: Reserving, record: CallRecord) -> None:
        self._reserving = reserving
        self._record = record
        self._places: dict[PoolId, _Place] = {}
        self._released = False

    async def reserve(
        self, candidate: PoolCandidate | AtVendor, attempt: AttemptRecord, prompt_tokens: int | None = None
    ) -> int:
        """Returns when attempt and hold are durable: what max_tokens to ask for, of each choice.

        `prompt_tokens`: an exact count, where the bound did not fit. Raises Denied, and Refusal where no
        other candidate may be tried either.
        """
        if isinstance(candidate, AtVendor):
            place: PoolPlace | VendorPlace = VendorPlace(
                candidate.model.vendor, candidate.model.price, candidate.policy
            )
            context = candidate.model.context_tokens
            default = min(VENDORS_DEFAULT_OUTPUT_TOKENS, candidate.model.max_output_tokens)
        else:
            self._admit(candidate.offer)
            place = PoolPlace(candidate.offer, candidate.card)
            context = candidate.agent.engine.context_tokens if candidate.agent.engine else 0
            default = candidate.offer.plan.default_output_tokens
        request, record = self._record.request, self._record
        prompt = request.prompt_tokens_bound if prompt_tokens is None else prompt_tokens
        terms = NewTerms(
            attempt_id=attempt.id,
            call_id=record.id,
            tenant_id=record.tenant_id,
            api_key_id=record.principal.api_key_id,
            model=candidate.served_name,
            place=place,
            prompt_tokens=prompt,
            max_tokens=self._max_tokens(context, default, prompt),
            choices=request.choices * request.prompts,
            shrinkable=request.max_tokens is None,
            now_unix_ms=unix_ms(),
        )
        if terms.hold_tokens > MOST_HOLD_TOKENS:
            message = f"the call could use {terms.hold_tokens} tokens, and {MOST_HOLD_TOKENS} is the most"
            raise Refusal(Condition.INVALID_VALUE, message, param="max_tokens")
        held = await self._reserving.book.reserve(record, terms)
        if isinstance(held, QuotaExceeded):
            raise _exceeded(candidate, terms, held)
        return held.max_tokens

    def headers(self, pool_id: PoolId) -> dict[str, str]:
        """x-ratelimit-*, for an answer from this pool."""
        place = self._places.get(pool_id)
        return dict(place.verdict.headers) if place is not None else {}

    def release(self, used_tokens: int) -> None:
        """The call has ended; again: nothing."""
        if self._released:
            return
        self._released = True
        for place in self._places.values():
            self._reserving.limits.release(
                (self._record.tenant_id, place.offer.pool_id),
                place.offer.plan,
                place.tokens - used_tokens,
                time.monotonic_ns(),
                processes=self._reserving.processes(),
            )

    def _admit(self, offer: PoolOffer) -> None:
        if offer.pool_id in self._places:
            return
        request = self._record.request
        output = offer.plan.default_output_tokens if request.max_tokens is None else request.max_tokens
        # The bound is of all prompts, in bytes.
        estimate = request.prompt_tokens_bound // BYTES_PER_TOKEN
        estimate += request.prompts * request.choices * output
        verdict = self._reserving.limits.admit(
            (self._record.tenant_id, offer.pool_id),
            offer.plan,
            estimate,
            time.monotonic_ns(),
            processes=self._reserving.processes(),
        )
        if isinstance(verdict, Limited):
            what = verdict.limit.replace("_", " ")
            message = (
                f"the limit of {what} in pool {offer.pool_name} (plan {offer.plan.name}) is reached;"
                f" try again in {verdict.retry_after_s} s"
            )
            headers = {"retry-after": str(verdict.retry_after_s), **verdict.headers}
            self._record.denials.append(Denial(Tier.POOL, offer.pool_name, "rate_limited", message))
            raise Refusal(Condition.RATE_LIMITED, message, headers=headers)
        self._places[offer.pool_id] = _Place(offer, estimate, verdict)

    def _max_tokens(self, context_tokens: int, default: int, prompt_tokens: int) -> int:
        request = self._record.request
        if request.max_tokens is not None:
            return request.max_tokens
        room = context_tokens - prompt_tokens
        if room < default:
            # The bound is far above most prompts: what is left of the context is estimated then.
            likely = request.prompt_characters // FEWEST_CHARACTERS_PER_TOKEN
            room = max(room, context_tokens - likely)
        return max(1, min(default, room))


def ending_of(
    record: CallRecord, attempt: AttemptRecord, claimed: Tokens | None, counted: Tokens | None
) -> Ending | None:
    """How the attempt's hold ends: `claimed` by the engine, `counted` by the gateway, as far as delivered.

    None: an own-card attempt that delivered nothing.
    """
    known = claimed if claimed is not None else counted
    delivered = known is not None and (known.completion > 0 or (attempt.accepted and known.prompt > 0))
    if isinstance(attempt.candidate, OwnCard):
        if known is None or not delivered:
            return None
        return OwnFacts(
            call_id=record.id,
            attempt_id=attempt.id,
            tenant_id=record.tenant_id,
            api_key_id=record.principal.api_key_id,
            agent_id=attempt.candidate.agent.agent_id,
            model=attempt.candidate.served_name,
            tokens=known,
            now_unix_ms=unix_ms(),
        )
    if not delivered:
        return Voided(attempt.id)
    return SettleFacts(record.id, attempt.id, claimed, counted, unix_ms())


def _exceeded(candidate: PoolCandidate | AtVendor, terms: NewTerms, held: QuotaExceeded) -> Denied:
    if isinstance(candidate, AtVendor):
        words = (
            f"the month's spend cap at vendors has {held.remaining / 1e12:.6f} USD left,"
            f" and the call may cost {terms.hold_pico_usd / 1e12:.6f} USD"
        )
        denial = Denial(Tier.EXTERNAL, candidate.model.vendor, "spend_cap_reached", words)
        return Denied(denial, Condition.SPEND_CAP_REACHED)
    offer = candidate.offer
    words = (
        f"the month's quota of {offer.plan.monthly_tokens} tokens in pool {offer.pool_name}"
        f" (plan {offer.plan.name}) has {held.remaining} left, and the call may use {terms.hold_tokens};"
        " the quota is full again on the first of the next month, UTC"
    )
    return Denied(Denial(Tier.POOL, offer.pool_name, "quota_exceeded", words), Condition.QUOTA_EXCEEDED)
