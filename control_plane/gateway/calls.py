"""The core of a call: plan, attempt, dispatch, relay, settle. Knows neither HTTP's edge nor SQL."""

import asyncio
import hashlib
import hmac
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from control_plane.access import Principal
from control_plane.gateway.book import Book
from control_plane.gateway.connection import Connection, Fault, UpstreamFailed
from control_plane.gateway.early import EarlyStart
from control_plane.gateway.errors import ClientGone, Condition, Refusal, error_event
from control_plane.gateway.limits import Limits
from control_plane.gateway.metering import StreamMeter, Tokens
from control_plane.gateway.pool import Pool
from control_plane.gateway.ports import Client, Fleet, Headers
from control_plane.gateway.record import AttemptRecord, CallRecord
from control_plane.gateway.relay import AnswerBroken, AttemptFailed, EngineRefused, StreamRelay, relay_whole
from control_plane.gateway.request import EngineFields, InferenceRequest, for_engine
from control_plane.gateway.streams import InFlight
from control_plane.gateway.ticket import Admission, mint
from control_plane.identifiers import new_attempt_id, new_call_id
from control_plane.router import (
    AnyCandidate,
    CodingCall,
    FallThrough,
    GeneralCall,
    Plan,
    TenantFacts,
    plan,
    reasons_in_words,
)
from control_plane.store import unix_ms
from control_plane.store.tables import AttemptOutcome, CallOutcome, Purpose, Tier

logger = logging.getLogger(__name__)

# vLLM serves lower numbers first. An owner's calls go before those of a pool on the same card.
_PRIORITY = {Tier.OWN: 0, Tier.POOL: 10}

JSON_TYPE = (b"content-type", b"application/json")

Own = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


@dataclass(frozen=True, slots=True)
class Parts:
    """What all calls share."""

    book: Book
    fleet: Fleet
    pool: Pool
    in_flight: InFlight
    limits: Limits
    # Keys the cache salts.
    secret: bytes
    # Runs a task that outlives the request which started it.
    own: Own


async def serve(
    parts: Parts, principal: Principal, purpose: Purpose, request: InferenceRequest, client: Client
) -> None:
    """Answers one call. Raises Refusal (nothing was sent; the caller translates it) and ClientGone."""
    facts = CodingCall if purpose is Purpose.CODING else GeneralCall
    the_plan: Plan[AnyCandidate] = plan(
        facts(request.model, request.prompt_characters, request.max_tokens),
        TenantFacts(principal.tenant_id),
        parts.fleet.view,
        parts.in_flight.counts,
    )
    record = CallRecord(new_call_id(), principal, purpose, request, the_plan, unix_ms())
    await _Call(parts, record, client).run()


class _Call:
    def __init__(self, parts: Parts, record: CallRecord, client: Client) -> None:
        self._parts = parts
        self._record = record
        self._client = client
        self._started = time.monotonic()
        self._served_by: AnyCandidate | None = None
        self._early: EarlyStart | None = None
        self._meter: StreamMeter | None = None

    async def run(self) -> None:
        try:
            await self._run()
        except Refusal as refusal:
            refusal.headers.update((name.decode(), value.decode()) for name, value in self._served_headers())
            self._end_attempt(AttemptOutcome.FAILED, Tokens(), refusal.code)
            outcome = CallOutcome.FAILED if self._record.attempts else CallOutcome.REFUSED
            await self._settle(outcome, refusal.status, refusal.code)
            if not self._client.started:
                raise
            await self._client.end(error_event(refusal.condition, refusal.message))
        except EngineRefused as refused:
            await self._settle(CallOutcome.FAILED, refused.status, Condition.ENGINE_REFUSED.value.code)
            if self._client.started:
                await self._client.end(b"data: " + refused.body + b"\n\n")
            else:
                await self._answer(refused.status, refused.body)
        except AnswerBroken as broken:
            self._end_attempt(AttemptOutcome.FAILED, self._delivered(), str(broken))
            await self._settle(CallOutcome.FAILED, 200, Condition.STREAM_BROKEN.value.code)
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
            self._end_attempt(AttemptOutcome.FAILED, self._delivered(), Condition.INTERNAL.value.code)
            status = 200 if self._client.started else Condition.INTERNAL.value.status
            await self._settle(CallOutcome.FAILED, status, Condition.INTERNAL.value.code)
            raise
        finally:
            self._client.on_gone = None
            if self._early is not None:
                await self._early.stop()

    async def _run(self) -> None:
        record, parts = self._record, self._parts
        steps = FallThrough(record.plan.candidates)
        failure: AttemptFailed | None = None
        if record.request.streamed and record.plan.candidates:
            self._early = EarlyStart(
                self._client, parts.limits, parts.own, [self._call_header()], self._served_headers
            )
        fresh = False
        while (candidate := steps.next()) is not None:
            if self._client.gone:
                raise ClientGone
            self._served_by = candidate
            try:
                with parts.in_flight.counted(candidate.agent.agent_id):
                    await self._attempt(candidate, fresh=fresh)
            except _KeptConnectionLost as lost:
                failure, fresh = lost, True
                steps.try_same_again()
            except AttemptFailed as failed:
                failure, fresh = failed, False
            else:
                return
            self._end_attempt(AttemptOutcome.FAILED, Tokens(), failure.code)
            logger.info(
                "call %s: attempt on %s failed: %s", record.id, candidate.agent.agent_id, failure.code
            )
        if self._client.gone:
            raise ClientGone
        raise self._nobody_could(failure)

    def _nobody_could(self, failure: AttemptFailed | None) -> Refusal:
        record = self._record
        if failure is not None:
            slow = failure.code == Fault.TIMEOUT
            condition = Condition.ENGINE_TIMEOUT if slow else Condition.ENGINE_FAILED
            tried = len(record.attempts)
            return Refusal(condition, f"no card could answer ({tried} tried); the last: {failure.words}")
        model = record.request.model[:200]
        if not record.plan.model_is_known:
            message = f"the model {model!r} does not exist or no card of yours serves it"
            return Refusal(Condition.MODEL_NOT_FOUND, message, param="model")
        why = reasons_in_words(record.plan)
        if record.plan.only_context_is_missing:
            message = f"the request does not fit any card's context: {why}"
            return Refusal(Condition.CONTEXT_TOO_LONG, message, param="messages")
        message = f"no card can serve {model!r} now: {why}"
        return Refusal(Condition.NO_CAPACITY, message, headers={"retry-after": "5"})

    async def _attempt(self, candidate: AnyCandidate, *, fresh: bool) -> None:
        parts, record = self._parts, self._record
        attempt = AttemptRecord(
            new_attempt_id(), len(record.attempts) + 1, candidate.agent, candidate.tier, unix_ms()
        )
        record.attempts.append(attempt)
        await parts.book.write(record)
        agent_id = candidate.agent.agent_id
        try:
            connection = await parts.pool.acquire(
                candidate.agent.host, candidate.agent.engine_port, fresh=fresh
            )
        except UpstreamFailed as failed:
            raise AttemptFailed(failed.fault, failed.words) from None
        kept, lease = connection.exchanges > 0, connection.lease
        try:
            ticket = self._ticket(candidate, attempt)
            gone = UpstreamFailed(Fault.CLIENT_GONE, "the client went away")
            self._client.on_gone = lambda: connection.abort(gone, lease)
            if self._client.gone:
                connection.abort(gone, lease)
            with parts.in_flight.carried(agent_id, connection, streamed=record.request.streamed):
                connection.begin(_http_request(candidate, record.request.path, ticket, self._body(candidate)))
                await self._relay(connection)
        except AttemptFailed as failed:
            if self._client.gone:
                raise ClientGone from None
            if kept and failed.code == Fault.LOST and not connection.answered:
                raise _KeptConnectionLost(failed.code, failed.words) from None
            raise
        except AnswerBroken:
            if self._client.gone:
                raise ClientGone from None
            raise
        except EngineRefused as refused:
            self._end_attempt(AttemptOutcome.FAILED, Tokens(), f"engine_{refused.status}")
            raise
        finally:
            self._client.on_gone = None
            connection.abort(UpstreamFailed(Fault.CLIENT_GONE, "nobody waits for the answer"), lease)

    async def _relay(self, connection: Connection) -> None:
        parts, request = self._parts, self._record.request
        if self._early is None:
            body = await relay_whole(connection, parts.limits, self._complete)
            await self._answer(200, body)
            return
        self._meter = StreamMeter(
            choices=request.choices,
            keep_usage=request.wants_usage,
            keep_running_usage=request.wants_running_usage,
            max_event_bytes=parts.limits.event_bytes,
        )
        relay = StreamRelay(connection, self._client, self._meter, parts.limits, self._early)
        await relay.run(self._complete, self._first_content)

    def _ticket(self, candidate: AnyCandidate, attempt: AttemptRecord) -> bytes:
        fleet, agent_id = self._parts.fleet, candidate.agent.agent_id
        # The plan is as old as the attempt's record took to become durable.
        if agent_id not in fleet.view.by_id:
            raise AttemptFailed(Fault.CUT, "the card's host was revoked")
        admission = Admission(self._record.id, attempt.id, candidate.served_name, candidate.tier)
        return mint(fleet.ticket_key(agent_id), admission, int(time.time()))

    def _body(self, candidate: AnyCandidate) -> bytes:
        record = self._record
        month = datetime.now(UTC).strftime("%Y-%m")
        salted = f"cache-salt|{record.tenant_id}|{candidate.agent.agent_id}|{month}"
        fields = EngineFields(
            served_name=candidate.served_name,
            request_id=f"{record.id}-{len(record.attempts)}",
            priority=_PRIORITY[candidate.tier],
            cache_salt=hmac.new(self._parts.secret, salted.encode(), hashlib.sha256).hexdigest()[:32],
        )
        return for_engine(record.request, fields)

    def _first_content(self) -> None:
        self._record.first_token_ms = self._elapsed_ms()

    async def _answer(self, status: int, body: bytes) -> None:
        length = (b"content-length", b"%d" % len(body))
        await self._client.start(status, (JSON_TYPE, length, *self._served_headers()))
        await self._client.end(body)

    async def _complete(self, tokens: Tokens) -> None:
        self._end_attempt(AttemptOutcome.COMPLETE, tokens, None)
        await self._settle(CallOutcome.COMPLETE, 200, None)

    async def _settle_abandoned(self) -> None:
        self._end_attempt(AttemptOutcome.CLIENT_GONE, self._delivered(), None)
        await self._settle(CallOutcome.CLIENT_GONE, 200 if self._client.started else None, None)

    async def _settle(self, outcome: CallOutcome, status: int | None, error_code: str | None) -> None:
        """Durable when it returns; once per call, whatever comes after the first time."""
        record = self._record
        if record.settled:
            return
        record.outcome = outcome
        record.http_status = status
        record.error_code = error_code
        record.duration_ms = self._elapsed_ms()
        await asyncio.shield(self._parts.own(self._parts.book.write(record)))

    def _end_attempt(self, outcome: AttemptOutcome, tokens: Tokens, error: str | None) -> None:
        attempts = self._record.attempts
        if attempts and attempts[-1].outcome is AttemptOutcome.RUNNING:
            self._record.end_attempt(outcome, unix_ms(), tokens, error)

    def _delivered(self) -> Tokens:
        return self._meter.delivered if self._meter is not None else Tokens()

    def _elapsed_ms(self) -> float:
        return round((time.monotonic() - self._started) * 1000, 2)

    def _call_header(self) -> tuple[bytes, bytes]:
        return b"x-daalu-call-id", self._record.id.encode()

    def _served_headers(self) -> Headers:
        headers = [self._call_header()]
        if self._served_by is not None:
            headers.append((b"x-daalu-tier", self._served_by.tier.encode()))
            headers.append((b"x-daalu-model", _printable(self._served_by.served_name)))
        return headers


class _KeptConnectionLost(AttemptFailed):
    """A kept connection closed before it answered with a byte: most likely it had been closed by the engine
    before the request reached it. A new attempt, with a ticket of its own, may use a new connection."""


def _http_request(candidate: AnyCandidate, path: str, ticket: bytes, body: bytes) -> bytes:
    host = candidate.agent.host
    authority = f"[{host}]" if ":" in host else host
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {authority}:{candidate.agent.engine_port}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\nx-daalu-ticket: "
    )
    return b"".join((head.encode(), ticket, b"\r\n\r\n", body))


def _printable(text: str) -> bytes:
    return "".join(character if " " <= character <= "~" else "?" for character in text).encode()
