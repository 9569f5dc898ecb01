"""Relaying one attempt's answer to the client, until it has ended one way or another."""

from collections.abc import Callable

from control_plane.gateway.connection import Connection, Fault, UpstreamFailed
from control_plane.gateway.early import EarlyStart
from control_plane.gateway.metering import END_MARKER, Meter, StreamTooLarge
from control_plane.gateway.ports import Client
from control_plane.gateway.reading import AnswerBroken, AttemptFailed, Reading


async def relay_whole(connection: Connection, reading: Reading, on_accepted: Callable[[], None]) -> bytes:
    """The body of a whole answer: it may go to the client once it is settled."""
    limits = reading.limits
    await _accepted(connection, reading, limits.whole_answer_s)
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
        self, connection: Connection, client: Client, meter: Meter, reading: Reading, early: EarlyStart
    ) -> None:
        self._connection = connection
        self._client = client
        self._reading = reading
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
        await _accepted(self._connection, self._reading, self._reading.limits.first_content_s)
        on_accepted()
        if not self._connection.content_type.startswith(b"text/event-stream"):
            raise AttemptFailed("protocol_error", "the answer is no stream")
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
        limits, meter = self._reading.limits, self.meter
        try:
            data = await self._connection.read(
                limits.stream_gap_s if meter.content else limits.first_content_s
            )
            out = meter.feed(data)
        except StreamTooLarge as error:
            raise self._broken("answer_too_large", str(error)) from None
        except UpstreamFailed as failure:
            raise self._broken(failure.fault, failure.words) from None
        if not data and not meter.done:
            raise self._broken(Fault.LOST, "the stream ended without an end marker")
        if meter.error is not None and not out:
            if meter.content:
                raise AnswerBroken(self._reading.refusals.words(meter.error))
            raise self._reading.refusals.in_stream(meter.error)
        return out

    def _broken(self, code: str, words: str) -> Exception:
        return AnswerBroken(words) if self.meter.content else AttemptFailed(code, words)


async def _accepted(connection: Connection, reading: Reading, limit_s: float) -> None:
    """Returns when the engine has answered 200."""
    try:
        await connection.headers(limit_s)
        if connection.status == 200:
            return
        body = await connection.read_whole(reading.limits.stream_gap_s, reading.limits.error_body_bytes)
    except UpstreamFailed as failure:
        raise _failed(failure) from None
    status = connection.status
    connection.release()
    raise reading.refusals.in_answer(status, body)


def _failed(failure: UpstreamFailed) -> AttemptFailed:
    return AttemptFailed(failure.fault, failure.words)
