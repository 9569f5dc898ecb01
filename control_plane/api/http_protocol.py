"""HTTP/1.1 at the socket: one protocol for both kinds of request, those of the gateway and all others.

The gateway's exchanges write to the transport themselves; everything else goes to the ASGI application. What
a head may be and how long it may take is limited here: one that is too large or too slow is answered at
once, in the error shape that OpenAI's clients read, and neither of the two hears of it.
"""

import asyncio
from collections.abc import Coroutine
from enum import Enum
from typing import Any, Protocol, cast
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.server import ServerState

from control_plane.api.asgi_exchange import AsgiExchange
from control_plane.api.flow import Flow
from control_plane.api.head_refused import HeadRefused
from control_plane.gateway import RequestHead, Wire
from control_plane.watchdog import Watchdog

# Request line and headers together. OpenAI's own client sends under 2 KiB.
MAX_HEAD_BYTES = 32_768
MAX_HEADERS = 100
# From the connection, or a request's first byte, to the end of its head.
HEAD_TIMEOUT_S = 10.0
# Requests that were sent while an earlier one is being answered; and how many bytes of them are read. A
# connection that is not read from does not tell that its client has gone.
MAX_WAITING_REQUESTS = 64
MAX_READ_AHEAD_BYTES = 65_536
# A refused client may still be sending; closing at once would reset the connection under the answer.
LINGER_S = 1.0
MAX_LINGER_BYTES = 4 * 1024 * 1024
# Of a request that was answered before its body had come: the rest must come within this, else the
# connection ends. What comes is read and dropped, so that the client gets to read its answer.
MAX_UNWANTED_BYTES = 32 * 1024 * 1024
UNWANTED_TIMEOUT_S = 10.0
# A client that takes nothing of an answer that has been given, for so long, is not waited for.
SEND_STALL_S = 60.0


class Exchange(Protocol):
    """One request and its answer."""

    keep_alive: bool

    @property
    def answered(self) -> bool: ...

    def run(self) -> Coroutine[Any, Any, None]:
        """Answers."""
        ...

    def feed(self, data: bytes) -> None:
        """A piece of the body."""
        ...

    def feed_end(self) -> None:
        """The body is complete."""
        ...

    def lost(self) -> None:
        """The connection is gone."""
        ...


class Inference(Protocol):
    """Who answers requests without ASGI between."""

    def takes(self, path: str) -> bool: ...

    def exchange(self, head: RequestHead, wire: Wire, *, keep_alive: bool) -> Exchange: ...


class _At(Enum):
    """Where in a message the connection is."""

    IDLE = 1
    HEAD = 2
    BODY = 3


class HttpConnection(asyncio.Protocol):
    """One connection, as uvicorn's server makes it. Requests are answered one after the other, in order."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        *,
        inference: Inference | None = None,
        max_connections: int,
    ) -> None:
        self._config = config
        self._server = server_state
        self._inference = inference
        self._max_connections = max_connections
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        # What follows a request that said `connection: close` is ours to ignore, not the parser's to refuse.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._watchdog = Watchdog(self._too_late)
        # Set once there is a transport.
        self._transport = cast("asyncio.Transport", None)
        self._flow = cast("Flow", None)
        self._wire = cast("Wire", None)

        self._at = _At.IDLE
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._expects_continue = False
        # Bytes that the parser was given since it last told of something.
        self._unread_bytes = 0

        # The one whose request came last, the one that is being answered, and those between.
        self._newest: Exchange | None = None
        self._answering: Exchange | None = None
        self._waiting: list[Exchange] = []
        self._ahead_bytes = 0

        self._refusal: HeadRefused | None = None
        # Nothing more is read here; what comes is dropped.
        self._deaf = False
        self._dropped_bytes = 0
        self._unwanted_bytes = 0
        # What the client had not taken when it was last looked at.
        self._unsent_bytes = 0
        self._stopping = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._flow = Flow(self._transport)
        self._wire = Wire(self._transport, self._flow, self._common_headers, self._answered)
        self._server.connections.add(self)  # type: ignore[arg-type]  # uvicorn's set knows its own protocols
        if len(self._server.connections) > self._max_connections:
            self._refuse(_TOO_MANY)
        else:
            self._watchdog.begin(HEAD_TIMEOUT_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self._watchdog.stop()
        for exchange in (self._answering, *self._waiting):
            if exchange is not None:
                exchange.lost()
        self._waiting.clear()
        self._flow.resume_writing()
        # It holds on to this protocol.
        del self._parser

    def pause_writing(self) -> None:
        self._flow.pause_writing()

    def resume_writing(self) -> None:
        self._flow.resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            self._dropped_bytes += len(data)
            if self._dropped_bytes > MAX_LINGER_BYTES:
                self._transport.abort()
            return
        self._unread_bytes += len(data)
        self._parse(data)
        if self._waiting:
            self._ahead_bytes += len(data)
            if self._ahead_bytes > MAX_READ_AHEAD_BYTES:
                self._flow.pause_reading()
        if self._unread_bytes > MAX_HEAD_BYTES and not self._deaf:
            # It holds a line that has not ended, and would without limit.
            self._refuse(_TOO_LARGE)

    # uvicorn's server

    def shutdown(self) -> None:
        """No more requests after those that have come."""
        self._stopping = True
        if self._answering is None or self._newest is None:
            self._transport.close()
        else:
            self._newest.keep_alive = False

    # httptools

    def on_message_begin(self) -> None:
        if self._newest is not None and not self._newest.keep_alive:
            # The connection ends with that one's answer.
            self._deaf = True
            raise httptools.HttpParserError("after the last request")
        self._at = _At.HEAD
        self._url = b""
        self._headers = []
        self._head_bytes = 0
        self._expects_continue = False
        self._unread_bytes = 0
        if self._answering is None:
            self._watchdog.begin(HEAD_TIMEOUT_S)

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)
        if self._at is _At.BODY:
            # A trailer. Who answers has read the headers; what comes after must not change them.
            return
        if len(self._headers) == MAX_HEADERS:
            self._refuse_in_parser(_TOO_LARGE)
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self._expects_continue = True
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._at = _At.BODY
        self._unread_bytes = 0
        if self._parser.should_upgrade() and self._announces_body():
            # The parser would not read it, and take it for the next request.
            self._refuse_in_parser(_NO_UPGRADE)
        self._newest = exchange = self._exchange()
        if self._answering is None:
            self._watchdog.end()
            self._begin(exchange)
        elif len(self._waiting) < MAX_WAITING_REQUESTS:
            self._waiting.append(exchange)
        else:
            self._deaf = True
            self._transport.abort()
            raise httptools.HttpParserError("too many requests wait")

    def on_body(self, body: bytes) -> None:
        self._unread_bytes = 0
        exchange = cast("Exchange", self._newest)
        if not exchange.answered:
            exchange.feed(body)
            return
        self._unwanted_bytes += len(body)
        if self._unwanted_bytes > MAX_UNWANTED_BYTES:
            self._transport.abort()

    def on_message_complete(self) -> None:
        self._at = _At.IDLE
        self._unread_bytes = 0
        exchange = cast("Exchange", self._newest)
        if not exchange.answered:
            exchange.feed_end()
        elif self._answering is None:
            self._watchdog.begin(self._config.timeout_keep_alive)

    # Answers

    def _exchange(self) -> Exchange:
        parser = self._parser
        url = httptools.parse_url(self._url)
        path = url.path.decode("ascii")
        head = RequestHead(
            method=parser.get_method().decode("ascii"),
            path=unquote(path) if "%" in path else path,
            headers=self._headers,
            http_1_0=parser.get_http_version() != "1.1",
            expects_continue=self._expects_continue,
        )
        # Trailers are counted and not kept.
        self._headers = []
        keep_alive = parser.should_keep_alive() and not head.http_1_0 and not self._stopping
        if self._inference is not None and self._inference.takes(head.path):
            return self._inference.exchange(head, self._wire, keep_alive=keep_alive)
        return AsgiExchange(
            self._config, head, url, self._transport, self._flow, self._wire, keep_alive=keep_alive
        )

    def _announces_body(self) -> bool:
        return any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0"))
            for name, value in self._headers
        )

    def _begin(self, exchange: Exchange) -> None:
        self._answering = exchange
        task = self._loop.create_task(exchange.run())
        self._server.tasks.add(task)
        task.add_done_callback(self._server.tasks.discard)

    def _answered(self) -> None:
        """The answer under way has been written."""
        exchange, self._answering = cast("Exchange", self._answering), None
        self._server.total_requests += 1
        if self._transport.is_closing():
            return
        if not exchange.keep_alive:
            self._hang_up()
        elif self._waiting:
            self._begin(self._waiting.pop(0))
        else:
            self._unwanted_bytes = 0
            self._watchdog.begin(self._patience_s())
        if not self._waiting:
            self._ahead_bytes = 0
            self._flow.resume_reading()

    def _patience_s(self) -> float:
        """How long what comes next may take, with nothing to answer."""
        if self._at is _At.IDLE:
            return self._config.timeout_keep_alive
        return HEAD_TIMEOUT_S if self._at is _At.HEAD else UNWANTED_TIMEOUT_S

    def _hang_up(self) -> None:
        """Once the answer has gone out, and what the client may still be sending was read."""
        self._deaf = True
        if self._at is _At.BODY:
            self._watchdog.begin(LINGER_S)
        else:
            self._transport.close()
            self._watchdog.begin(SEND_STALL_S)

    def _common_headers(self) -> list[tuple[bytes, bytes]]:
        return self._server.default_headers

    # Refusals

    def _count(self, size: int) -> None:
        self._unread_bytes = 0
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse_in_parser(_TOO_LARGE)

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # Not taken up: what follows is HTTP/1.1 as before.
                data = data[upgrade.args[0] :]
            except httptools.HttpParserError:
                if not self._deaf:
                    self._refuse(self._refusal or _MALFORMED)
                return
            else:
                return

    def _refuse_in_parser(self, refusal: HeadRefused) -> None:
        """From within a parser's callback: ends the parsing, and then gives the answer."""
        self._refusal = refusal
        raise httptools.HttpParserError(refusal.code)

    def _refuse(self, refusal: HeadRefused) -> None:
        self._deaf = True
        if self._transport.is_closing():
            return
        if self._answering is not None:
            # An answer to an earlier request is on its way; nothing can be said in the midst of it.
            self._transport.abort()
            return
        self._transport.write(refusal.answer())
        self._watchdog.begin(LINGER_S)

    def _too_late(self) -> None:
        unsent_bytes, self._unsent_bytes = self._unsent_bytes, self._transport.get_write_buffer_size()
        if self._unsent_bytes:
            # The client has not taken its answer yet: it may go on for as long as it takes some of it.
            if self._unsent_bytes == unsent_bytes:
                self._transport.abort()
            else:
                self._watchdog.begin(SEND_STALL_S)
        elif self._at is _At.HEAD and not self._deaf:
            self._refuse(_TOO_SLOW)
        elif self._at is _At.BODY:
            self._transport.abort()
        else:
            self._transport.close()


_MALFORMED = HeadRefused(400, "malformed_request", "This is not a valid HTTP/1.1 request.")
_NO_UPGRADE = HeadRefused(
    400, "upgrade_refused", "Only HTTP/1.1 is spoken here: send this request without the header 'Upgrade'."
)
_TOO_SLOW = HeadRefused(408, "request_timeout", f"The headers did not arrive within {HEAD_TIMEOUT_S:.0f} s.")
_TOO_MANY = HeadRefused(
    503,
    "too_many_connections",
    "This control plane has as many connections open as it takes: try again later, and reuse connections.",
)
_TOO_LARGE = HeadRefused(
    431,
    "headers_too_large",
    f"At most {MAX_HEADERS} headers of {MAX_HEAD_BYTES} bytes together are read.",
)
