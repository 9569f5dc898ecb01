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
        self._collect: Callable[[bytes], None] | None = None
        # What the client is to get next, and what the meter found wrong.
        self._out = b""
        self._too_large: StreamTooLarge | None = None
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
        self._collect = collect
        while not self.meter.done:
            await self._pass_on(on_content)
        self._connection.release()

    async def end(self) -> None:
        """The call is settled: the client may see the end of its answer."""
        if not self._early.content_started:
            await self._early.begin_content()
        await self._client.end(END_MARKER)

    async def _pass_on(self, on_content: Callable[[], None]) -> None:
        """What comes, until it takes more than writing to the client."""
        limits, meter = self._reading.limits, self.meter
        gap_s = limits.stream_gap_s if meter.content else limits.first_content_s
        try:
            more = await self._connection.pump(self._take, gap_s)
        except UpstreamFailed as failure:
            raise self._broken(failure.fault, failure.words) from None
        if not more:
            # The stream has ended, which may tell the meter something.
            self._take(b"")
        if self._out:
            if not self._early.content_started:
                on_content()
                await self._early.begin_content()
            out, self._out = self._out, b""
            await self._client.send(out)
            self._delivered(out)
        if self._too_large is not None:
            raise self._broken(Fault.TOO_LARGE, str(self._too_large))
        if meter.error is not None:
            if meter.content:
                raise AnswerBroken(self._reading.refusals.words(meter.error))
            raise self._reading.refusals.in_stream(meter.error)
        if not more and not meter.done:
            raise self._broken(Fault.LOST, "the stream ended without an end marker")

    def _take(self, data: bytes) -> bool:
        """Whether that was all that there is to do for `data`."""
        meter = self.meter
        try:
            out = meter.feed(data)
        except StreamTooLarge as error:
            self._too_large = error
            return False
        if out:
            if not self._early.content_started or not self._client.send_now(out):
                self._out = out
                return False
            self._delivered(out)
        return not meter.done and meter.error is None

    def _delivered(self, out: bytes) -> None:
        self.meter.mark_delivered()
        if self._collect is not None:
            self._collect(out)

    def _broken(self, code: str, words: str) -> Exception:
        # Too large is what the request asked for: a card is not to be left alone for it.
        at_fault = code != Fault.TOO_LARGE
        if self.meter.content:
            return AnswerBroken(words, at_fault=at_fault)
        return AttemptFailed(code, words, at_fault=at_fault)


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
    at_fault = failure.fault is not Fault.TOO_LARGE
    return AttemptFailed(failure.fault, failure.words, at_fault=at_fault)
