"""The gateway's edge: one request on a client's HTTP/1.1 connection, and its answer as written to it."""

import asyncio
import http
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from control_plane.gateway.errors import ClientGone, Condition, Refusal
from control_plane.gateway.limits import Limits
from control_plane.gateway.ports import Headers

# Of a body that nobody reads yet; the connection is not read from above it.
MAX_UNREAD_BODY_BYTES = 65_536

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
_PHRASES = {status.value: status.phrase for status in http.HTTPStatus}
_STATUS_LINES = {
    status: f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\n".encode() for status in range(200, 600)
}


class Flow(Protocol):
    """Back pressure of one connection, both ways."""

    @property
    def write_paused(self) -> bool:
        """The transport holds as much as it wants to."""
        ...

    async def drain(self) -> None:
        """Returns when it has let go of that, or the connection is lost."""
        ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Wire:
    """A connection, as its exchanges see it."""

    transport: asyncio.WriteTransport
    flow: Flow
    # What every answer carries, as of now.
    common_headers: Callable[[], Headers]
    on_answered: Callable[[], None]


@dataclass(slots=True)
class RequestHead:
    method: str
    path: str
    # Names in lower case.
    headers: Headers
    http_1_0: bool
    expects_continue: bool


class Exchange:
    """A Client of ports.py. Told by its connection what comes: feed(), feed_end(), lost()."""

    __slots__ = (
        "_body_bytes",
        "_body_ended",
        "_body_wanted",
        "_chunked",
        "_head",
        "_length_left",
        "_limits",
        "_parts",
        "_start",
        "_waiter",
        "_wire",
        "_work",
        "answered",
        "gone",
        "keep_alive",
        "on_gone",
        "started",
    )

    def __init__(
        self,
        head: RequestHead,
        wire: Wire,
        limits: Limits,
        work: "Callable[[Exchange], Awaitable[None]]",
        *,
        keep_alive: bool,
    ) -> None:
        self._head = head
        self._wire = wire
        self._limits = limits
        self._work = work
        self._parts: list[bytes] = []
        self._body_bytes = 0
        self._body_ended = False
        # Somebody waits for it.
        self._body_wanted = False
        self._waiter: asyncio.Future[None] | None = None
        # Status and headers that have not been written.
        self._start = b""
        self._chunked = False
        self._length_left: int | None = None
        self.on_gone: Callable[[], None] | None = None
        self.gone = False
        self.started = False
        self.answered = False
        # Whether the connection goes on after the answer.
        self.keep_alive = keep_alive

    @property
    def method(self) -> str:
        return self._head.method

    @property
    def path(self) -> str:
        return self._head.path

    @property
    def headers(self) -> Headers:
        return self._head.headers

    async def run(self) -> None:
        try:
            await self._work(self)
        finally:
            if not self.answered:
                # What was sent of an answer does not look like a whole one.
                self._wire.transport.close()

    async def body(self, content_length: int | None) -> bytes:
        """The whole body. Raises Refusal for one too large or too slow, ClientGone."""
        most_bytes = self._limits.request_body_bytes
        if content_length is not None and content_length > most_bytes:
            raise self._too_large()
        self._body_wanted = True
        if not self._body_ended:
            await self._rest_of_body()
        if self._body_bytes > most_bytes:
            raise self._too_large()
        parts, self._parts = self._parts, []
        # Read by now, and not to be held for as long as the answer takes.
        self._head.headers = ()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def start(self, status: int, headers: Headers) -> None:
        """Goes out with the first data after it."""
        if self.gone:
            raise ClientGone
        lines = [_STATUS_LINES[status]]
        for name, value in (*self._wire.common_headers(), *headers):
            if name == b"connection":
                self.keep_alive = self.keep_alive and value != b"close"
                continue
            if name == b"content-length":
                self._length_left = int(value)
            lines.append(b"%b: %b\r\n" % (name, value))
        if self._length_left is None:
            # A client of HTTP/1.0 knows the end by the connection's.
            self._chunked = not self._head.http_1_0
            self.keep_alive = self.keep_alive and self._chunked
            if self._chunked:
                lines.append(b"transfer-encoding: chunked\r\n")
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        head = b"".join(lines)
        if head.count(b"\n") != len(lines):
            raise ValueError("a header's value has a line break in it")
        self._start = head + b"\r\n"
        self.started = True

    async def send(self, data: bytes) -> None:
        if self._wire.flow.write_paused:
            await self._writable()
        if self.gone:
            raise ClientGone
        self._write_piece(data)

    def send_now(self, data: bytes) -> bool:
        if self.gone or self._wire.flow.write_paused:
            return False
        self._write_piece(data)
        return True

    async def end(self, data: bytes = b"") -> None:
        if self._wire.flow.write_paused:
            await self._writable()
        if self.gone:
            raise ClientGone
        if not self._chunked:
            self._write(data, len(data))
        elif data:
            self._write(b"%x\r\n%b\r\n%b" % (len(data), data, _LAST_CHUNK), len(data))
        else:
            self._write(_LAST_CHUNK, 0)
        if self._length_left:
            raise ValueError(f"the answer lacks {self._length_left} bytes of its length")
        self.answered = True
        self._wire.on_answered()

    def feed(self, data: bytes) -> None:
        """A piece of the body."""
        self._body_bytes += len(data)
        if self._body_bytes <= self._limits.request_body_bytes:
            self._parts.append(data)
        else:
            self._parts.clear()
        if self._body_wanted:
            self._wake()
        elif self._body_bytes > MAX_UNREAD_BODY_BYTES:
            self._wire.flow.pause_reading()

    def feed_end(self) -> None:
        self._body_ended = True
        self._wake()

    def lost(self) -> None:
        """The connection is gone, and with it the client."""
        if self.answered:
            return
        self.gone = True
        self._wake()
        on_gone, self.on_gone = self.on_gone, None
        if on_gone is not None:
            on_gone()

    def _write_piece(self, data: bytes) -> None:
        # An empty chunk would be the last one.
        if data:
            self._write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data, len(data))

    def _write(self, data: bytes, body_bytes: int) -> None:
        if self._length_left is not None:
            self._length_left -= body_bytes
            if self._length_left < 0:
                raise ValueError("the answer is longer than its length")
        if self._head.method == "HEAD":
            data = b""
        if self._start:
            data = self._start + data
            self._start = b""
        self._wire.transport.write(data)

    async def _writable(self) -> None:
        try:
            async with asyncio.timeout(self._limits.client_stall_s):
                await self._wire.flow.drain()
        except TimeoutError:
            # It accepts nothing. To close would wait until it does.
            self._wire.transport.abort()
            self.lost()

    async def _rest_of_body(self) -> None:
        loop, limits = asyncio.get_running_loop(), self._limits
        ends = loop.time() + limits.request_body_s
        if self._head.expects_continue and not self._parts:
            self._wire.transport.write(_CONTINUE)
        self._wire.flow.resume_reading()
        while not self._body_ended and not self.gone and self._body_bytes <= limits.request_body_bytes:
            self._waiter = loop.create_future()
            try:
                async with asyncio.timeout_at(min(ends, loop.time() + limits.request_body_gap_s)):
                    await self._waiter
            except TimeoutError:
                slow = "the request's body came too slowly"
                raise Refusal(Condition.BODY_TOO_SLOW, slow, headers={"connection": "close"}) from None
            finally:
                self._waiter = None
        if self.gone:
            raise ClientGone

    def _too_large(self) -> Refusal:
        # Not closed: that would reset the connection under the answer while the client still sends.
        message = f"the request's body is larger than {self._limits.request_body_bytes} bytes"
        return Refusal(Condition.BODY_TOO_LARGE, message)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
