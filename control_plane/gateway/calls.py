"""The core of a call: plan, reserve, dispatch, relay, settle. Knows neither HTTP's edge nor SQL."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from control_plane.access import Principal
from control_plane.catalogue import AUTO, ModelNames
from control_plane.economy import Tokens, pin_for
from control_plane.gateway.allowlist import check_shared
from control_plane.gateway.connection import Connection, Fault, UpstreamFailed
from control_plane.gateway.dispatch import CardDispatch, VendorDispatch
from control_plane.gateway.early import EarlyStart
from control_plane.gateway.ending import Voided
from control_plane.gateway.errors import ClientGone, Condition, Refusal, error_event
from control_plane.gateway.holds import Denied, Holds, Reserving, ending_of
from control_plane.gateway.limits import Limits
from control_plane.gateway.metering import StreamMeter, usage_of_answer
from control_plane.gateway.models import own_models, reachable_models
from control_plane.gateway.ports import AnswerText, Client, Counting, Economy, Fleet, Headers, Vendors
from control_plane.gateway.record import AttemptRecord, CallRecord
from control_plane.gateway.refusals import nobody_could
from control_plane.gateway.relay import AnswerBroken, AttemptFailed, EngineRefused, StreamRelay, relay_whole
from control_plane.gateway.request import InferenceRequest, affinity_of
from control_plane.gateway.streams import InFlight
from control_plane.identifiers import new_attempt_id, new_call_id
from control_plane.router import (
    AnyCandidate,
    AtVendor,
    Breakers,
    CodingCall,
    Denial,
    FallThrough,
    GeneralCall,
    OperatorCard,
    OwnCard,
    Plan,
    RetryBudget,
    TenantFacts,
    ThirdPartyCard,
    World,
    choose_model,
    plan,
)
from control_plane.store import unix_ms
from control_plane.store.tables import AttemptOutcome, CallOutcome, Purpose, Tier

logger = logging.getLogger(__name__)

JSON_TYPE = (b"content-type", b"application/json")

Own = Callable[[Coroutine[Any, Any, Any]], "asyncio.Task[Any]"]


@dataclass(frozen=True, slots=True)
class Parts:
    """What all calls share."""

    reserving: Reserving
    fleet: Fleet
    economy: Economy
    counting: Counting
    names: ModelNames
    vendors: Vendors
    cards: CardDispatch
    at_vendors: VendorDispatch
    in_flight: InFlight
    breakers: Breakers
    retries: RetryBudget
    limits: Limits
    # Runs a task that outlives the request which started it.
    own: Own


async def serve(
    parts: Parts, principal: Principal, purpose: Purpose, request: InferenceRequest, client: Client
) -> None:
    """Answers one call. Raises Refusal (nothing was sent; the caller translates it) and ClientGone."""
    record = CallRecord(
        new_call_id(), principal, purpose, request, _plan(parts, principal, purpose, request), unix_ms()
    )
    await _Call(parts, record, client).run()


def _plan(
    parts: Parts, principal: Principal, purpose: Purpose, request: InferenceRequest
) -> Plan[AnyCandidate]:
    model = _model(parts, principal, purpose, request)
    offers = parts.economy.offers(principal.tenant_id, model, unix_ms())
    terms = parts.economy.tenant(principal.tenant_id)
    pin = pin_for(terms.pins, model, purpose)
    tenant = TenantFacts(principal.tenant_id, offers, terms.external, pin)
    world = World(
        parts.fleet.view,
        parts.in_flight.counts,
        parts.breakers.open_at(time.monotonic()),
        parts.counting.models,
        () if purpose is Purpose.CODING else parts.vendors.serving(model),
    )
    kind = CodingCall if purpose is Purpose.CODING else GeneralCall
    call = kind(
        model,
        request.prompt_characters,
        request.max_tokens,
        request.text_only,
        affinity_of(request) if offers.usable else 0,
    )
    return plan(call, tenant, world)


def _model(parts: Parts, principal: Principal, purpose: Purpose, request: InferenceRequest) -> str:
    """The served name of what the client asked for, by whatever name."""
    model = parts.names.served_name(request.model)
    if model != AUTO:
        return model
    view, tenant_id = parts.fleet.view, principal.tenant_id
    reachable = reachable_models(
        view, parts.economy, parts.vendors, parts.counting.models, tenant_id, unix_ms()
    )
    return choose_model(purpose, own_models(view, tenant_id), reachable, parts.names) or model


class _Call:
    def __init__(self, parts: Parts, record: CallRecord, client: Client) -> None:
        self._parts = parts
        self._record = record
        self._client = client
        self._holds = Holds(parts.reserving, record)
        self._started = time.monotonic()
        self._served_by: AnyCandidate | None = None
        self._early: EarlyStart | None = None
        self._meter: StreamMeter | None = None
        # Of the present attempt, where the gateway has to count by itself: what the client was given.
        self._text: AnswerText | None = None

    async def run(self) -> None:
        try:
            await self._run()
        except Refusal as refusal:
            refusal.headers.update((name.decode(), value.decode()) for name, value in self._served_headers())
            self._end_attempt(AttemptOutcome.FAILED, Tokens(), refusal.code)
            outcome = CallOutcome.FAILED if self._record.attempts else CallOutcome.REFUSED
            await self._settle(outcome, refusal.status, refusal.code, None)
            if not self._client.started:
                raise
            await self._client.end(error_event(refusal.condition, refusal.message))
        except EngineRefused as refused:
            await self._settle(CallOutcome.FAILED, refused.status, Condition.ENGINE_REFUSED.value.code, None)
            if self._client.started:
                await self._client.end(b"data: " + refused.body + b"\n\n")
            else:
                await self._answer(refused.status, refused.body)
        except AnswerBroken as broken:
            await self._settle_delivered(AttemptOutcome.FAILED, CallOutcome.FAILED, broken)
            message = f"the answer broke off: {broken}"
            await self._client.end(error_event(Condition.STREAM_BROKEN, message))
        except ClientGone:
            await self._settle_abandoned()
            raise
        except asyncio.CancelledError:
            # What it used is recorded by a task that is not the request's.
            self._parts.own(self._settle_abandoned())
            raise
        except Exception:
            code, status = Condition.INTERNAL.value.code, Condition.INTERNAL.value.status
            self._end_attempt(AttemptOutcome.FAILED, self._delivered() or Tokens(), code)
            await self._settle(
                CallOutcome.FAILED, 200 if self._client.started else status, code, self._delivered()
            )
            raise
        finally:
            self._client.on_gone = None
            if self._early is not None:
                await self._early.stop()

    async def _run(self) -> None:
        record, parts = self._record, self._parts
        steps = FallThrough(record.plan.candidates)
        failure: AttemptFailed | None = None
        denied: Denied | None = None
        parts.retries.call()
        if record.request.streamed and record.plan.candidates:
            self._early = EarlyStart(
                self._client, parts.limits, parts.own, [self._call_header()], self._served_headers
            )
        fresh = False
        while (candidate := steps.next()) is not None:
            if self._client.gone:
                raise ClientGone
            if steps.attempts > 1 and not parts.retries.spend():
                logger.warning("call %s is not tried again: too many calls are failing", record.id)
                break
            self._served_by = candidate
            try:
                await self._attempt(candidate, fresh=fresh)
            except Denied as no:
                denied = no
                record.denials.append(no.denial)
                steps.untried()
                steps.skip(lambda other, of=candidate: _same_place(other, of))  # type: ignore[misc]
                continue
            except _KeptConnectionLost as lost:
                failure, fresh = lost, True
                steps.try_same_again()
            except AttemptFailed as failed:
                failure, fresh = failed, False
                self._blame(candidate, failed)
            else:
                return
            logger.info("call %s: an attempt at tier %s failed: %s", record.id, candidate.tier, failure.code)
            await self._give_back(failure)
        if self._client.gone:
            raise ClientGone
        raise nobody_could(record, failure, denied)

    async def _attempt(self, candidate: AnyCandidate, *, fresh: bool) -> None:
        parts, record = self._parts, self._record
        attempt = AttemptRecord(new_attempt_id(), len(record.attempts) + 1, candidate, unix_ms())
        at_vendor = isinstance(candidate, AtVendor)
        counted = nullcontext() if at_vendor else parts.in_flight.counted(candidate.agent.agent_id)  # type: ignore[union-attr]
        with counted:
            record.attempts.append(attempt)
            max_tokens = await self._reserve(candidate, attempt)
            try:
                if isinstance(candidate, AtVendor):
                    connection = await parts.at_vendors.connect(candidate, fresh=fresh)
                else:
                    connection = await parts.cards.connect(candidate, fresh=fresh)
            except UpstreamFailed as failed:
                raise AttemptFailed(
                    failed.fault, failed.words, at_fault=failed.fault is not Fault.BUSY
                ) from None
            await self._exchange(candidate, attempt, connection, max_tokens)

    async def _reserve(self, candidate: AnyCandidate, attempt: AttemptRecord) -> int | None:
        """What max_tokens to ask for; None: as the client has it. Raises Denied and Refusal."""
        record, parts = self._record, self._parts
        if isinstance(candidate, OwnCard):
            await parts.reserving.book.write(record)
            return None
        try:
            if isinstance(candidate, AtVendor):
                return await self._holds.reserve(candidate, attempt)
            _check_shared(candidate, record.request)
            try:
                return await self._holds.reserve(candidate, attempt)
            except Denied as denied:
                exact = await self._exact_prompt_tokens(candidate)
                if exact is None or denied.condition is not Condition.QUOTA_EXCEEDED:
                    raise
                return await self._holds.reserve(candidate, attempt, exact)
        except Denied:
            record.attempts.pop()
            raise
        except Refusal as refusal:
            if refusal.condition is not Condition.UNRECORDABLE:
                # Else nobody knows whether the hold was written: the attempt stays, to be given back.
                record.attempts.pop()
            raise

    async def _exact_prompt_tokens(self, candidate: OperatorCard | ThirdPartyCard) -> int | None:
        """Where the bound did not fit: what the prompt really has; None: cannot be counted."""
        engine = candidate.agent.engine
        if engine is None or engine.model_id not in self._parts.counting.models:
            return None
        return await self._parts.counting.prompt_tokens(engine.model_id, self._record.request)

    async def _exchange(
        self,
        candidate: AnyCandidate,
        attempt: AttemptRecord,
        connection: Connection,
        max_tokens: int | None,
    ) -> None:
        parts, record = self._parts, self._record
        kept, lease = connection.exchanges > 0, connection.lease
        checkpoints: asyncio.Task[None] | None = None
        try:
            if isinstance(candidate, AtVendor):
                request = parts.at_vendors.request(candidate, record.request, max_tokens)
                carried: Any = nullcontext()
            else:
                request = parts.cards.request(candidate, record, attempt, max_tokens)
                carried = parts.in_flight.carried(
                    candidate.agent.agent_id, connection, streamed=record.request.streamed
                )
            gone = UpstreamFailed(Fault.CLIENT_GONE, "the client went away")
            self._client.on_gone = lambda: connection.abort(gone, lease)
            if self._client.gone:
                connection.abort(gone, lease)
            if record.request.streamed and not isinstance(candidate, OwnCard):
                checkpoints = parts.own(self._checkpoints(attempt))
            if isinstance(candidate, ThirdPartyCard):
                self._text = parts.counting.text_of(record.request)
            with carried:
                connection.begin(request)
                await self._relay(connection, attempt)
        except AttemptFailed as failed:
            if self._client.gone:
                raise ClientGone from None
            if kept and failed.code == Fault.LOST and not connection.answered:
                raise _KeptConnectionLost(failed.code, failed.words) from None
            raise
        except AnswerBroken:
            if self._client.gone:
                raise ClientGone from None
            if not isinstance(candidate, AtVendor):
                parts.breakers.failed(candidate.agent.agent_id, time.monotonic())
            raise
        except EngineRefused as refused:
            self._end_attempt(AttemptOutcome.FAILED, Tokens(), f"engine_{refused.status}")
            raise
        finally:
            if checkpoints is not None:
                checkpoints.cancel()
            self._client.on_gone = None
            connection.abort(UpstreamFailed(Fault.CLIENT_GONE, "nobody waits for the answer"), lease)
        if not isinstance(candidate, AtVendor):
            parts.breakers.served(candidate.agent.agent_id)

    async def _relay(self, connection: Connection, attempt: AttemptRecord) -> None:
        parts, record, request = self._parts, self._record, self._record.request

        def accepted() -> None:
            attempt.accepted = True

        if self._early is None:
            body = await relay_whole(connection, parts.limits, accepted)
            if self._text is not None:
                self._text.whole(body)
            if await self._complete(usage_of_answer(body)):
                await self._answer(200, body)
            else:
                # The client gets none of it, so it pays for none of it.
                record.ending = Voided(attempt.id)
                record.outcome, record.http_status = CallOutcome.FAILED, Condition.UNRECORDABLE.value.status
                record.error_code = Condition.UNRECORDABLE.value.code
                raise _unsettled()
            return
        self._meter = StreamMeter(
            choices=request.choices,
            keep_usage=request.wants_usage,
            keep_running_usage=request.wants_running_usage,
            max_event_bytes=parts.limits.event_bytes,
        )
        relay = StreamRelay(connection, self._client, self._meter, parts.limits, self._early)
        collect = self._text.events if self._text is not None else None
        await relay.run(accepted, self._first_content, collect)
        if await self._complete(self._meter.claimed):
            await relay.end()
        else:
            await self._client.end(error_event(Condition.UNRECORDABLE, _unsettled().message))

    async def _checkpoints(self, attempt: AttemptRecord) -> None:
        while True:
            await asyncio.sleep(self._parts.limits.checkpoint_every_s)
            if self._meter is not None and self._meter.content:
                await self._parts.reserving.book.checkpoint(attempt.id, self._meter.delivered)

    def _blame(self, candidate: AnyCandidate, failed: AttemptFailed) -> None:
        if failed.at_fault and not isinstance(candidate, AtVendor):
            self._parts.breakers.failed(candidate.agent.agent_id, time.monotonic())

    async def _give_back(self, failure: AttemptFailed) -> None:
        """Ends an attempt that delivered nothing, before the next: its hold is free again."""
        self._end_attempt(AttemptOutcome.FAILED, Tokens(), failure.code)
        self._meter = self._text = None
        record = self._record
        last = record.attempts[-1]
        if last.tier is not Tier.OWN:
            record.ending = Voided(last.id)
            await self._parts.reserving.book.write(record)
            record.ending = None

    def _first_content(self) -> None:
        self._record.first_token_ms = self._elapsed_ms()

    async def _answer(self, status: int, body: bytes) -> None:
        length = (b"content-length", b"%d" % len(body))
        await self._client.start(status, (JSON_TYPE, length, *self._served_headers()))
        await self._client.end(body)

    async def _complete(self, claimed: Tokens | None) -> bool:
        """Whether the settlement is durable."""
        self._end_attempt(AttemptOutcome.COMPLETE, claimed or Tokens(), None)
        return await self._settle(CallOutcome.COMPLETE, 200, None, claimed)

    async def _settle_delivered(
        self, attempt: AttemptOutcome, call: CallOutcome, broken: AnswerBroken | None
    ) -> None:
        """What the client was given before the answer ended early."""
        delivered = self._delivered()
        self._end_attempt(attempt, delivered or Tokens(), str(broken) if broken else None)
        code = Condition.STREAM_BROKEN.value.code if broken else None
        await self._settle(call, 200 if self._client.started else None, code, delivered)

    async def _settle_abandoned(self) -> None:
        await self._settle_delivered(AttemptOutcome.CLIENT_GONE, CallOutcome.CLIENT_GONE, None)

    async def _settle(
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
        record.duration_ms = self._elapsed_ms()
        return bool(await asyncio.shield(self._parts.own(self._close(claimed))))

    async def _close(self, claimed: Tokens | None) -> bool:
        record, book = self._record, self._parts.reserving.book
        last = record.attempts[-1] if record.attempts else None
        counted = await self._count(last) if last is not None else None
        if last is not None:
            record.ending = ending_of(record, last, claimed, counted)
        used = counted or claimed or Tokens()
        self._holds.release(used.prompt + used.completion)
        if last is None or last.tier is Tier.OWN:
            await book.write(record)
            return True
        return await book.settle(record)

    async def _count(self, attempt: AttemptRecord) -> Tokens | None:
        """The gateway's own count, where the card's word alone is not enough."""
        text, candidate = self._text, attempt.candidate
        if text is None or not isinstance(candidate, ThirdPartyCard) or candidate.agent.engine is None:
            return None
        if not attempt.accepted:
            return Tokens()
        return await self._parts.counting.count(candidate.agent.engine.model_id, self._record.request, text)

    def _end_attempt(self, outcome: AttemptOutcome, tokens: Tokens, error: str | None) -> None:
        attempts = self._record.attempts
        if attempts and attempts[-1].outcome is AttemptOutcome.RUNNING:
            self._record.end_attempt(outcome, unix_ms(), tokens, error)

    def _delivered(self) -> Tokens | None:
        """By the engine's word; None: it has said nothing."""
        return self._meter.claimed_delivered if self._meter is not None else None

    def _elapsed_ms(self) -> float:
        return round((time.monotonic() - self._started) * 1000, 2)

    def _call_header(self) -> tuple[bytes, bytes]:
        return b"x-daalu-call-id", self._record.id.encode()

    def _served_headers(self) -> Headers:
        headers, served_by = [self._call_header()], self._served_by
        if served_by is not None:
            headers.append((b"x-daalu-tier", served_by.tier.encode()))
            headers.append((b"x-daalu-model", _printable(served_by.served_name)))
        if isinstance(served_by, OperatorCard | ThirdPartyCard):
            headers.append((b"x-daalu-pool", _printable(served_by.offer.pool_name)))
            limits = self._holds.headers(served_by.offer.pool_id)
            headers += [(name.encode(), value.encode()) for name, value in limits.items()]
        return headers


class _KeptConnectionLost(AttemptFailed):
    """A kept connection closed before it answered with a byte: most likely it had been closed by the engine
    before the request reached it. A new attempt, with a ticket of its own, may use a new connection."""


def _check_shared(candidate: OperatorCard | ThirdPartyCard, request: InferenceRequest) -> None:
    try:
        check_shared(request)
    except Refusal as refusal:
        denial = Denial(Tier.POOL, candidate.offer.pool_name, refusal.code, refusal.message)
        raise Denied(denial, refusal.condition) from None


def _same_place(other: AnyCandidate, denied: AnyCandidate) -> bool:
    """Whether `other` would be denied for the same reason."""
    if isinstance(denied, AtVendor):
        return other == denied
    if isinstance(other, AtVendor | OwnCard) or isinstance(denied, OwnCard):
        return False
    return other.offer.pool_id == denied.offer.pool_id


def _unsettled() -> Refusal:
    message = "the answer is there, but its settlement cannot be recorded now; the operator has to look"
    return Refusal(Condition.UNRECORDABLE, message, headers={"retry-after": "5"})


def _printable(text: str) -> bytes:
    return "".join(character if " " <= character <= "~" else "?" for character in text).encode()
