"""Settling a call: what the client was given becomes its record's last word, once, and its hold's end."""

import asyncio
import logging
import time

from control_plane.economy import TakenBack, Tokens, Voided, payable_tokens
from control_plane.gateway.errors import Condition, Refusal
from control_plane.gateway.holds import Holds, ending_of
from control_plane.gateway.metering import Meter
from control_plane.gateway.parts import Parts
from control_plane.gateway.ports import AnswerText
from control_plane.gateway.reading import AnswerBroken
from control_plane.gateway.record import AttemptRecord, CallRecord
from control_plane.metrics import EndedCall
from control_plane.router import AtVendor, ThirdPartyCard
from control_plane.store import unix_ms
from control_plane.store.tables import AttemptOutcome, CallOutcome, Tier

logger = logging.getLogger(__name__)


class Settling:
    """Of one call. Knows what the present attempt has delivered: `meter` reads a stream's claims, `text` is
    kept where the gateway has to count by itself, `estimated` stands in for what a vendor did not say of a
    whole answer."""

    def __init__(self, parts: Parts, record: CallRecord, holds: Holds) -> None:
        self._parts = parts
        self._record = record
        self._holds = holds
        self._started = time.monotonic()
        self.meter: Meter | None = None
        self.text: AnswerText | None = None
        self.estimated: Tokens | None = None

    async def complete(self, claimed: Tokens | None) -> bool:
        """Whether the settlement is durable."""
        self.end_attempt(AttemptOutcome.COMPLETE, claimed or self._estimate() or Tokens(), None)
        return await self.settle(CallOutcome.COMPLETE, 200, None, claimed)

    async def settle_delivered(
        self, attempt: AttemptOutcome, call: CallOutcome, broken: AnswerBroken | None, status: int | None
    ) -> None:
        """What the client was given before the answer ended early."""
        delivered = self.delivered()
        told = delivered or self._estimate() or Tokens()
        self.end_attempt(attempt, told, str(broken) if broken else None)
        code = Condition.STREAM_BROKEN.value.code if broken else None
        await self.settle(call, status, code, delivered)

    async def settle_abandoned(self, status: int | None) -> None:
        await self.settle_delivered(AttemptOutcome.CLIENT_GONE, CallOutcome.CLIENT_GONE, None, status)

    async def settle(
        self, outcome: CallOutcome, status: int | None, error_code: str | None, claimed: Tokens | None
    ) -> bool:
        """Once per call, whatever comes after the first time. Whether it is durable when this returns; where
        it is not, it is owed."""
        record = self._record
        if record.settled:
            return True
        record.outcome = outcome
        record.http_status = status
        record.error_code = error_code
        record.duration_ms = self.elapsed_ms()
        return bool(await asyncio.shield(self._parts.own(self._close(claimed))))

    async def _close(self, claimed: Tokens | None) -> bool:
        record, book = self._record, self._parts.reserving.book
        last = record.attempts[-1] if record.attempts else None
        used, metered = Tokens(), True
        try:
            counted = await self._count(last, self.text) if last is not None else None
            if last is not None:
                record.ending = ending_of(record, last, claimed, counted)
            used = counted or claimed or Tokens()
        except Exception:
            # Else nobody would ever resolve its hold.
            logger.exception("call %s cannot be metered, and is not charged", record.id)
            metered = False
            record.outcome, record.error_code = CallOutcome.FAILED, Condition.INTERNAL.value.code
            if last is not None and last.tier is not Tier.OWN:
                record.ending = Voided(last.id)
        finally:
            self._holds.release(used.prompt + used.completion)
        self._tell(used)
        if last is None or last.tier is Tier.OWN:
            await book.write(record)
            return True
        return await book.settle(record) and metered

    def _tell(self, used: Tokens) -> None:
        record, meters = self._record, self._parts.meters
        meters.call_ended(
            EndedCall(
                tenant_id=record.tenant_id,
                tier=record.attempts[-1].tier if record.attempts else None,
                outcome=record.outcome,
                prompt_tokens=used.prompt,
                completion_tokens=used.completion,
                first_token_s=None if record.first_token_ms is None else record.first_token_ms / 1000,
            )
        )
        if record.error_code is not None:
            meters.refused(record.tenant_id, record.error_code)

    async def _count(self, attempt: AttemptRecord, text: AnswerText | None) -> Tokens | None:
        """The gateway's own count, where the card's word alone is not enough; its estimate, where a vendor
        gave no word."""
        candidate = attempt.candidate
        if isinstance(candidate, AtVendor):
            return self._estimate()
        if text is None or not isinstance(candidate, ThirdPartyCard) or candidate.agent.engine is None:
            return None
        if not attempt.accepted:
            return Tokens()
        return await self._parts.counting.count(candidate.agent.engine.model_id, self._record.request, text)

    def end_attempt(self, outcome: AttemptOutcome, tokens: Tokens, error: str | None) -> None:
        attempts = self._record.attempts
        if attempts and attempts[-1].outcome is AttemptOutcome.RUNNING:
            self._record.end_attempt(outcome, unix_ms(), tokens, error)

    def delivered(self) -> Tokens | None:
        """By the engine's word; None: it has said nothing."""
        return self.meter.claimed_delivered if self.meter is not None else None

    def _estimate(self) -> Tokens | None:
        """Of what a vendor delivered; None: the vendor has said, or no vendor has answered."""
        if self.meter is not None and self._record.attempts[-1].accepted:
            return self.meter.estimated_delivered
        return self.estimated

    def nothing_delivered(self, code: str) -> None:
        """Ends an attempt of whose answer the client was given nothing, whatever the engine had begun."""
        self.end_attempt(AttemptOutcome.FAILED, Tokens(), code)
        self.meter = self.text = self.estimated = None

    async def give_back(self, code: str) -> None:
        """Ends an attempt that delivered nothing, before the next: its hold is free again."""
        self.nothing_delivered(code)
        record = self._record
        last = record.attempts[-1]
        if last.tier is not Tier.OWN:
            record.given_back.append(Voided(last.id))
            await self._parts.reserving.book.write(record)

    async def checkpoints(self, attempt: AttemptRecord) -> None:
        """Makes durable, now and then, what the client has been given so far. Until cancelled.

        Where the card's word alone is not enough, it is counted so far, ever more rarely: all of these counts
        together cost no more than some two of the whole answer.
        """
        wait_s = self._parts.limits.checkpoint_every_s
        while True:
            await asyncio.sleep(wait_s)
            if self.meter is None or not self.meter.content:
                continue
            tokens, text = self.meter.delivered, self.text
            if text is not None:
                wait_s *= 2
                counted = await self._count(attempt, text.so_far())
                if counted is None:
                    continue
                tokens = payable_tokens(tokens, counted, operator_card=False)
            await self._parts.reserving.book.checkpoint(attempt.id, tokens)

    def take_back(self, attempt: AttemptRecord) -> Refusal:
        """A whole answer whose settlement is not known to be durable: the client gets none of it, so it pays
        for none of it. The refusal is what it gets."""
        record, refusal = self._record, unsettled()
        record.ending = TakenBack(record.id, attempt.id) if record.end_is_late else Voided(attempt.id)
        record.end_attempt(AttemptOutcome.FAILED, unix_ms(), Tokens(), refusal.code)
        record.outcome, record.http_status = CallOutcome.FAILED, refusal.status
        record.error_code = refusal.code
        if record.end_is_late:
            # Also where what was owed was written just now.
            self._parts.reserving.book.owe(record)
        return refusal

    def elapsed_ms(self) -> float:
        return round((time.monotonic() - self._started) * 1000, 2)


def unsettled() -> Refusal:
    message = "the answer is there, but its settlement cannot be recorded now; the operator has to look"
    return Refusal(Condition.UNRECORDABLE, message, headers={"retry-after": "5"})
