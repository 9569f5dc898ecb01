"""A connection to an engine: HTTP/1.1, one exchange at a time, kept for the next where possible."""

import asyncio
from collections.abc import Callable
from enum import StrEnum
from typing import cast

import httptools

from control_plane.gateway.limits import Limits
from control_plane.watchdog import Watchdog


class Fault(StrEnum):
    """What can go wrong between gateway and engine. Codes are stored with the attempt."""

    CONNECT = "connect_failed"
    # A peer that does not prove to be who it should be.
    CERTIFICATE = "certificate_refused"
    LOST = "connection_lost"
    TIMEOUT = "timeout"
    PROTOCOL = "protocol_error"
    TOO_LARGE = "answer_too_large"
    CUT = "agent_lost"
    CLIENT_GONE = "client_gone"
    BUSY = "too_many_connections"


class UpstreamFailed(Exception):
    def __init__(self, fault: Fault, words: str) -> None:
        super().__init__(words)
        self.fault = fault
        self.words = words


class Connection(asyncio.Protocol):
    """Made by Pool. Between begin() and release() or abort() it belongs to one attempt.

    What arrives between two reads comes out of the next one as one piece. Reading from the socket pauses
    while more than `read_ahead_bytes` wait, so a slow client slows its engine down and no other.
    """

    def __init__(
        self, limits: Limits, on_idle: "Callable[[Connection], None]", peer: str = "the engine"
    ) -> None:
        """`peer`: what the other end is called in words for people."""
        self._limits = limits
        self._peer = peer
        self._on_idle = on_idle
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        # Who takes what arrives as it arrives, and how long it may be silent.
        self._take: Callable[[bytes], bool] | None = None
        self._gap_s = 0.0
        self._watchdog = Watchdog(self._timed_out)
        self._failure: UpstreamFailed | None = None
        self._reset()
        self._busy = False
        self.closed = False
        # Which attempt has it: changes when that one gives it up, so that a late abort() of its own cannot
        # meet the attempt that has the connection by then.
        self.lease = 0
        self.idle_since = 0.0
        # Answers that came over it: 0 means that it was made for this attempt.
        self.exchanges = 0
        self.on_closed: Callable[[Connection], None] | None = None

    def _reset(self) -> None:
        self.status = 0
        self.content_type = b""
        self.last_byte_at = self._loop.time()
        # Whether the engine has answered this attempt with so much as a byte.
        self.answered = False
        self._head_bytes = 0
        self._headers_done = False
        self._complete = False
        self._may_be_kept = False
        self._released = False
        self._paused = False
        self._parts: list[bytes] = []
        self._waiting_bytes = 0

    def take(self) -> None:
        """The pool hands it to an attempt, which ends that with release() or abort()."""
        self.lease += 1

    def begin(self, request: bytes) -> None:
        """Sends a whole request. The answer is read with headers() and read()."""
        self._reset()
        self._busy = True
        if self.closed:
            # Between being taken and being used.
            self._fail(UpstreamFailed(Fault.LOST, f"the connection to {self._peer} was lost"))
        elif self._transport is not None:
            self._transport.write(request)

    async def headers(self, limit_s: float) -> None:
        """Returns when status and headers are here. Raises UpstreamFailed."""
        while not self._headers_done:
            if self._failure is not None:
                raise self._failure
            await self._wait(limit_s)

    async def read(self, limit_s: float) -> bytes:
        """What has arrived of the body; b"" at its end. Raises UpstreamFailed once what came before the
        failure has been read, except after abort(), which discards it."""
        while not self._parts:
            if self._failure is not None:
                raise self._failure
            if self._complete:
                return b""
            await self._wait(limit_s)
        return self._taken()

    async def pump(self, take: Callable[[bytes], bool], gap_s: float) -> bool:
        """Gives every piece of the body to `take` at the moment when it arrives, with no task between, until
        that returns False, and True is returned; or until the body's end, and False is. Raises UpstreamFailed
        as read() does. `take` does not raise."""
        while True:
            if self._parts:
                if not take(self._taken()):
                    return True
            elif self._failure is not None:
                raise self._failure
            elif self._complete:
                return False
            else:
                self._take, self._gap_s = take, gap_s
                try:
                    await self._wait(gap_s)
                    if self._take is None:
                        return True
                finally:
                    self._take = None

    async def read_whole(self, limit_s: float, most_bytes: int) -> bytes:
        parts, size = [], 0
        while data := await self.read(limit_s):
            parts.append(data)
            size += len(data)
            if size > most_bytes:
                raise UpstreamFailed(
                    Fault.TOO_LARGE, f"{self._peer}'s answer has more than {most_bytes} bytes"
                )
        return b"".join(parts)

    def _taken(self) -> bytes:
        """What waits to be read, which then no longer waits."""
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._waiting_bytes = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return data

    def release(self) -> None:
        """The attempt has what it needs. The connection is kept when the rest arrives in time."""
        self.lease += 1
        self._watchdog.end()
        if self._complete:
            self._keep()
        elif not self.closed:
            self._released = True
            self._watchdog.begin(self._limits.linger_s)

    def abort(self, failure: UpstreamFailed, lease: int) -> None:
        """Closes at once, which cancels the engine's work; a read in progress raises `failure`. Does nothing
        once the attempt that had `lease` has given the connection up."""
        if lease != self.lease:
            return
        self.lease += 1
        self._parts.clear()
        self._fail(failure)

    def _keep(self) -> None:
        self._busy = False
        self.exchanges += 1
        if self.closed or not self._may_be_kept:
            self.close()
            return
        self.idle_since = self._loop.time()
        self._on_idle(self)

    def close(self) -> None:
        self._watchdog.stop()
        if self._transport is not None:
            self._transport.abort()

    async def _wait(self, limit_s: float) -> None:
        self._waiter = self._loop.create_future()
        self._watchdog.begin(limit_s)
        try:
            await self._waiter
        finally:
            self._waiter = None
            self._watchdog.end()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, failure: UpstreamFailed) -> None:
        if self._failure is None:
            self._failure = failure
        self.close()
        self._wake()

    def _timed_out(self) -> None:
        self._fail(UpstreamFailed(Fault.TIMEOUT, f"{self._peer} sent nothing for too long"))

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if not self._busy:
            # Nobody asked: whatever this is, the next answer would be confused with it.
            self.close()
            return
        self.last_byte_at = self._loop.time()
        self.answered = True
        # Of what is no piece of a body: headers, sizes of chunks, trailers. The parser keeps an unfinished
        # line whole, and would without limit.
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(UpstreamFailed(Fault.PROTOCOL, f"{self._peer}'s answer is not HTTP: {error}"))
            return
        if not self._complete and self._head_bytes > self._limits.response_headers_bytes:
            self._fail(UpstreamFailed(Fault.PROTOCOL, f"{self._peer}'s headers are too large"))
        if self._take is not None and self._parts:
            self._watchdog.begin(self._gap_s)
            if not self._take(self._taken()):
                self._take = None
                self._wake()
        if self._waiting_bytes > self._limits.read_ahead_bytes and not self._paused and not self.closed:
            self._paused = True
            if self._transport is not None:
                self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._busy and not self._complete:
            self._fail(UpstreamFailed(Fault.LOST, f"the connection to {self._peer} was lost"))
        self._watchdog.stop()
        if self.on_closed is not None:
            self.on_closed(self)

    # httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"content-type":
            self.content_type = value.lower()
        elif name == b"content-encoding" and value.lower() != b"identity":
            raise ValueError(f"{self._peer} compressed its answer, unasked")

    def on_headers_complete(self) -> None:
        self._head_bytes = 0
        self.status = self._parser.get_status_code()
        self._headers_done = True
        self._wake()

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        if self._released:
            return
        self._parts.append(body)
        self._waiting_bytes += len(body)
        if self._take is None:
            self._wake()

    def on_message_complete(self) -> None:
        self._complete = True
        # Known here and not later: the parser is ready for the next message then.
        self._may_be_kept = self._parser.should_keep_alive()
        if self._released:
            self._watchdog.end()
            self._keep()
        self._wake()
