"""The core of a call: plan, reserve, dispatch, relay, settle. Knows neither HTTP's edge nor SQL."""

import asyncio
import logging
import time
from contextlib import nullcontext
from typing import Any

from control_plane.access import Principal
from control_plane.economy import Tokens
from control_plane.gateway.allowlist import check_shared
from control_plane.gateway.connection import Connection, Fault, UpstreamFailed
from control_plane.gateway.early import EarlyStart
from control_plane.gateway.errors import ClientGone, Condition, Refusal, error_event
from control_plane.gateway.holds import Denied, Holds
from control_plane.gateway.parts import Parts
from control_plane.gateway.planning import plan_call
from control_plane.gateway.ports import Client, Headers
from control_plane.gateway.reading import AnswerBroken, AttemptFailed, EngineReading, EngineRefused, Reading
from control_plane.gateway.record import AttemptRecord, CallRecord
from control_plane.gateway.refusals import nobody_could
from control_plane.gateway.relay import StreamRelay, relay_whole
from control_plane.gateway.request import InferenceRequest
from control_plane.gateway.settling import Settling, unsettled
from control_plane.identifiers import new_attempt_id, new_call_id
from control_plane.router import (
    AnyCandidate,
    AtVendor,
    Denial,
    FallThrough,
    OperatorCard,
    OwnCard,
    ThirdPartyCard,
    place_of,
)
from control_plane.store import unix_ms
from control_plane.store.tables import AttemptOutcome, CallOutcome, Purpose

logger = logging.getLogger(__name__)

JSON_TYPE = (b"content-type", b"application/json")


async def serve(
    parts: Parts, principal: Principal, purpose: Purpose, request: InferenceRequest, client: Client
) -> None:
    """Answers one call. Raises Refusal (nothing was sent; the caller translates it) and ClientGone."""
    record = CallRecord(
        new_call_id(), principal, purpose, request, plan_call(parts, principal, purpose, request), unix_ms()
    )
    await _Call(parts, record, client).run()


class _Call:
    def __init__(self, parts: Parts, record: CallRecord, client: Client) -> None:
        self._parts = parts
        self._record = record
        self._client = client
        self._holds = Holds(parts.reserving, record)
        self._settling = Settling(parts, record, self._holds)
        self._served_by: AnyCandidate | None = None
        self._early: EarlyStart | None = None

    async def run(self) -> None:
        try:
            await self._run()
        except Refusal as refusal:
            refusal.headers.update((name.decode(), value.decode()) for name, value in self._served_headers())
            self._settling.end_attempt(AttemptOutcome.FAILED, Tokens(), refusal.code)
            outcome = CallOutcome.FAILED if self._record.attempts else CallOutcome.REFUSED
            await self._settling.settle(outcome, refusal.status, refusal.code, None)
            if not self._client.started:
                raise
            await self._client.end(error_event(refusal.condition, refusal.message))
        except EngineRefused as refused:
            await self._settling.settle(
                CallOutcome.FAILED, refused.status, Condition.ENGINE_REFUSED.value.code, None
            )
            if self._client.started:
                await self._client.end(b"data: " + refused.body + b"\n\n")
            else:
                await self._answer(refused.status, refused.body)
        except AnswerBroken as broken:
            await self._settling.settle_delivered(
                AttemptOutcome.FAILED, CallOutcome.FAILED, broken, self._status()
            )
            message = f"the answer broke off: {broken}"
            await self._client.end(error_event(Condition.STREAM_BROKEN, message))
        except ClientGone:
            await self._settling.settle_abandoned(self._status())
            raise
        except asyncio.CancelledError:
            # What it used is recorded by a task that is not the request's.
            self._parts.own(self._settling.settle_abandoned(self._status()))
            raise
        except Exception:
            code, status = Condition.INTERNAL.value.code, Condition.INTERNAL.value.status
            if self._early is None or not self._early.content_started:
                self._settling.nothing_delivered(code)
            self._settling.end_attempt(AttemptOutcome.FAILED, self._settling.delivered() or Tokens(), code)
            await self._settling.settle(
                CallOutcome.FAILED, self._status() or status, code, self._settling.delivered()
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
            parts.meters.attempt_failed(record.tenant_id, candidate.tier, failure.code)
            await self._settling.give_back(failure.code)
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
            self._check_fields(candidate)
            if isinstance(candidate, AtVendor):
                return await self._holds.reserve(candidate, attempt)
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

    def _check_fields(self, candidate: OperatorCard | ThirdPartyCard | AtVendor) -> None:
        """Raises Denied for a request that may not go to a vendor as it is, and Refusal for one that may not
        go to a shared card: a field must not move a call from a pool to a vendor."""
        if isinstance(candidate, AtVendor):
            where, check = candidate.model.vendor, self._parts.at_vendors.check
        else:
            where, check = candidate.offer.pool_name, check_shared
        try:
            check(self._record.request)
        except Refusal as refusal:
            denial = Denial(candidate.tier, where, refusal.code, refusal.message)
            if isinstance(candidate, AtVendor):
                raise Denied(denial, refusal.condition) from None
            self._record.denials.append(denial)
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
                request = parts.at_vendors.request(candidate, record.request, max_tokens or 0)
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
                checkpoints = parts.own(self._settling.checkpoints(attempt))
            if isinstance(candidate, ThirdPartyCard):
                self._settling.text = parts.counting.text_of(record.request)
            with carried:
                connection.begin(request)
                await self._relay(connection, attempt, max_tokens)
        except AttemptFailed as failed:
            if self._client.gone:
                raise ClientGone from None
            if kept and failed.code == Fault.LOST and not connection.answered:
                raise _KeptConnectionLost(failed.code, failed.words) from None
            raise
        except AnswerBroken as broken:
            if self._client.gone:
                raise ClientGone from None
            if broken.at_fault:
                parts.breakers.failed(place_of(candidate), time.monotonic())
            parts.meters.attempt_failed(record.tenant_id, candidate.tier, Condition.STREAM_BROKEN.value.code)
            raise
        except EngineRefused as refused:
            who = "vendor" if isinstance(candidate, AtVendor) else "engine"
            self._settling.nothing_delivered(f"{who}_{refused.status}")
            raise
        finally:
            if checkpoints is not None:
                checkpoints.cancel()
            self._client.on_gone = None
            connection.abort(UpstreamFailed(Fault.CLIENT_GONE, "nobody waits for the answer"), lease)
        parts.breakers.served(place_of(candidate))

    async def _relay(self, connection: Connection, attempt: AttemptRecord, max_tokens: int | None) -> None:
        request, candidate = self._record.request, attempt.candidate
        reading: Reading = (
            self._parts.at_vendors.reading(candidate, request, max_tokens or 0)
            if isinstance(candidate, AtVendor)
            else EngineReading(request, self._parts.limits)
        )

        def accepted() -> None:
            attempt.accepted = True

        if self._early is None:
            body = await relay_whole(connection, reading, accepted)
            claimed, self._settling.estimated = reading.tokens_of(body)
            await self._answer_whole(attempt, claimed, body)
            return
        self._settling.meter = reading.meter()
        relay = StreamRelay(connection, self._client, self._settling.meter, reading, self._early)
        collect = self._settling.text.events if self._settling.text is not None else None
        await relay.run(accepted, self._first_content, collect)
        if await self._settling.complete(self._settling.meter.claimed):
            await relay.end()
        else:
            await self._client.end(error_event(Condition.UNRECORDABLE, unsettled().message))

    async def _answer_whole(self, attempt: AttemptRecord, claimed: Tokens | None, body: bytes) -> None:
        if self._settling.text is not None:
            self._settling.text.whole(body)
        if await self._settling.complete(claimed):
            await self._answer(200, body)
            return
        raise self._settling.take_back(attempt)

    def _blame(self, candidate: AnyCandidate, failed: AttemptFailed) -> None:
        if failed.at_fault:
            self._parts.breakers.failed(place_of(candidate), time.monotonic())

    def _first_content(self) -> None:
        self._record.first_token_ms = self._settling.elapsed_ms()

    async def _answer(self, status: int, body: bytes) -> None:
        length = (b"content-length", b"%d" % len(body))
        await self._client.start(status, (JSON_TYPE, length, *self._served_headers()))
        await self._client.end(body)

    def _status(self) -> int | None:
        """What the client has been told already."""
        return 200 if self._client.started else None

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


def _same_place(other: AnyCandidate, denied: AnyCandidate) -> bool:
    """Whether `other` would be denied for the same reason."""
    if isinstance(denied, AtVendor):
        return other == denied
    if isinstance(other, AtVendor | OwnCard) or isinstance(denied, OwnCard):
        return False
    return other.offer.pool_id == denied.offer.pool_id


def _printable(text: str) -> bytes:
    return "".join(character if " " <= character <= "~" else "?" for character in text).encode()
