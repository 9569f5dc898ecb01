"""Relaying one attempt's answer from an engine to the client, until it has ended one way or another."""

from collections.abc import Callable
from typing import Any

import orjson

from control_plane.gateway.connection import Connection, Fault, UpstreamFailed
from control_plane.gateway.early import EarlyStart
from control_plane.gateway.errors import Condition, error_body
from control_plane.gateway.limits import Limits
from control_plane.gateway.metering import END_MARKER, StreamMeter, StreamTooLarge
from control_plane.gateway.ports import Client

# Of the client errors that an engine may answer with, those that are the gateway's fault: a ticket that was
# not accepted, a model that is no longer there, no room.
_OUR_FAULT = frozenset({401, 403, 404, 405, 408, 421, 425, 429})
# What a gate that lets nothing more in says with 503: backpressure, and no fault.
_NOT_NOW = frozenset({"no_capacity", "draining", "busy", "journal_unwritable"})


class AttemptFailed(Exception):
    """Nothing of an answer came; another candidate may be tried.

    `at_fault`: the candidate, so that it counts against it; else it was busy, or it was ours.
    """

    def __init__(self, code: str, words: str, *, at_fault: bool = True) -> None:
        super().__init__(words)
        self.code = code
        self.words = words
        self.at_fault = at_fault


class AnswerBroken(Exception):
    """The answer ended before its end, after content had gone to the client."""


class EngineRefused(Exception):
    """The engine finds the request itself at fault; no other engine would think otherwise."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"the engine answered {status}")
        self.status = status
        self.body = body


async def relay_whole(connection: Connection, limits: Limits, on_accepted: Callable[[], None]) -> bytes:
    """The body of a whole answer: it may go to the client once it is settled."""
    await _accepted(connection, limits, limits.whole_answer_s)
    on_accepted()
    try:
        body = await connection.read_whole(limits.stream_gap_s, limits.response_body_bytes)
    except UpstreamFailed as failure:
        raise _failed(failure) from None
    connection.release()
    return body


class StreamRelay:
    """One attempt's stream."""

    def __init__(
        self, connection: Connection, client: Client, meter: StreamMeter, limits: Limits, early: EarlyStart
    ) -> None:
        self._connection = connection
        self._client = client
        self._limits = limits
        self._early = early
        self.meter = meter

    async def run(
        self,
        on_accepted: Callable[[], None],
        on_content: Callable[[], None],
        collect: Callable[[bytes], None] | None,
    ) -> None:
        """Returns when the client has all but the end marker, which is for end() to send.

        `on_accepted` is called once the engine has begun, `on_content` before the first content goes out,
        `collect` with all that the client has accepted, whole events. Raises AttemptFailed, AnswerBroken,
        EngineRefused, ClientGone.
        """
        await _accepted(self._connection, self._limits, self._limits.first_content_s)
        on_accepted()
        if not self._connection.content_type.startswith(b"text/event-stream"):
            raise AttemptFailed("protocol_error", "the engine did not answer with a stream")
        while not self.meter.done:
            out = await self._next()
            if not out:
                continue
            if not self._early.content_started:
                on_content()
                await self._early.begin_content()
            await self._client.send(out)
            self.meter.mark_delivered()
            if collect is not None:
                collect(out)
        self._connection.release()

    async def end(self) -> None:
        """The call is settled: the client may see the end of its answer."""
        if not self._early.content_started:
            await self._early.begin_content()
        await self._client.end(END_MARKER)

    async def _next(self) -> bytes:
        """What may go out next, b"" if nothing may yet."""
        limits, meter = self._limits, self.meter
        try:
            data = await self._connection.read(
                limits.stream_gap_s if meter.content else limits.first_content_s
            )
            out = meter.feed(data)
        except StreamTooLarge as error:
            raise self._broken("answer_too_large", str(error)) from None
        except UpstreamFailed as failure:
            raise self._broken(failure.fault, failure.words) from None
        if not data:
            raise self._broken(Fault.LOST, "the engine ended its stream without an end marker")
        if meter.error is not None and not out:
            self._raise_engine_error(meter.error)
        return out

    def _raise_engine_error(self, error: dict[str, Any]) -> None:
        code = error.get("code")
        if isinstance(code, int) and _is_clients(code) and not self.meter.content:
            raise EngineRefused(code, orjson.dumps({"error": error}))
        raise self._broken("engine_error", f"the engine reported an error: {error.get('message')}")

    def _broken(self, code: str, words: str) -> Exception:
        return AnswerBroken(words) if self.meter.content else AttemptFailed(code, words)


async def _accepted(connection: Connection, limits: Limits, limit_s: float) -> None:
    """Returns when the engine has answered 200."""
    try:
        await connection.headers(limit_s)
        if connection.status == 200:
            return
        body = await connection.read_whole(limits.stream_gap_s, limits.error_body_bytes)
    except UpstreamFailed as failure:
        raise _failed(failure) from None
    status = connection.status
    connection.release()
    if _is_clients(status):
        raise EngineRefused(status, _in_shape(body))
    code = _code_of(body) if status == 503 else None
    if code in _NOT_NOW:
        raise AttemptFailed(code, f"the card takes no more calls just now ({code})", at_fault=False)
    # A ticket that was not accepted, a model that is gone, a limit: nothing that the engine did wrong.
    raise AttemptFailed(
        f"engine_{status}", f"the engine answered {status}", at_fault=status not in _OUR_FAULT
    )


def _is_clients(status: int) -> bool:
    return 400 <= status < 500 and status not in _OUR_FAULT


def _failed(failure: UpstreamFailed) -> AttemptFailed:
    return AttemptFailed(failure.fault, failure.words)


def _error_in(body: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    error = value.get("error") if isinstance(value, dict) else None
    return error if isinstance(error, dict) else None


def _code_of(body: bytes) -> str | None:
    code = (_error_in(body) or {}).get("code")
    return code if isinstance(code, str) else None


def _in_shape(body: bytes) -> bytes:
    if _error_in(body) is not None:
        return body
    return error_body(Condition.ENGINE_REFUSED, "the engine refused the request")
