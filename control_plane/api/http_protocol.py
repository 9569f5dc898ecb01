"""HTTP at the socket: uvicorn's protocol with limits on what a request's head may be and how long it takes.

The server reads heads without any limit of its own. Here a head that is too large or too slow is answered
at once, in the error shape that OpenAI's clients read, and the application never hears of it.
"""

import asyncio
import json
from enum import Enum
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

# Request line and headers together. OpenAI's own client sends under 2 KiB.
MAX_HEAD_BYTES = 32_768
MAX_HEADERS = 100
# From the connection, or a request's first byte, to the end of its head.
HEAD_TIMEOUT_S = 10.0
# A refused client may still be sending; closing at once would reset the connection under the answer.
LINGER_S = 1.0
MAX_LINGER_BYTES = 4 * 1024 * 1024
# Of a request that was answered before its body had come: the rest must come within this, else the
# connection ends. What comes is read and dropped, so that the client gets to read its answer.
MAX_UNWANTED_BYTES = 32 * 1024 * 1024
UNWANTED_TIMEOUT_S = 10.0


class _At(Enum):
    """Where in a message the connection is."""

    IDLE = 1
    HEAD = 2
    BODY = 3


class GuardedHttpProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._at = _At.IDLE
        self._events = 0
        self._head_bytes = 0
        self._unread_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._linger_timer: asyncio.TimerHandle | None = None
        self._refusal: tuple[int, str, str] | None = None
        self._lingered_bytes = 0
        self._unwanted_bytes = 0
        self._unwanted_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        super().connection_made(transport)
        self._arm_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm_head_timer()
        if self._linger_timer is not None:
            self._linger_timer.cancel()
        self._disarm_unwanted_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refusal is not None:
            self._discard(data)
            return
        events = self._events
        super().data_received(data)
        if self.transport.is_closing() or self._is_refused() or events != self._events:
            return
        # The parser told of nothing: it holds a line that has not ended, and would without limit.
        self._unread_bytes += len(data)
        if self._unread_bytes > MAX_HEAD_BYTES:
            self._refuse(*_TOO_LARGE)
        elif self._at is _At.IDLE:
            # Line breaks between requests: they must not hold the connection open.
            self._arm_head_timer()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._at = _At.HEAD
        self._head_bytes = 0
        self._progress()
        self._arm_head_timer()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)
        if self._at is _At.BODY:
            # A trailer. The application has read the headers; what comes after must not change them.
            return
        if len(self.headers) >= MAX_HEADERS:
            self._refuse_in_parser(*_TOO_LARGE)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._at = _At.BODY
        self._progress()
        self._disarm_head_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._progress()
        if self.cycle.response_complete:
            self._unwanted_bytes += len(body)
            if self._unwanted_bytes > MAX_UNWANTED_BYTES:
                self.transport.abort()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._at = _At.IDLE
        self._progress()
        self._disarm_unwanted_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._at is _At.BODY and not self._is_answering() and not self.transport.is_closing():
            self._unwanted_bytes = 0
            self._unwanted_timer = self.loop.call_later(UNWANTED_TIMEOUT_S, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        if self._refusal is None:
            self._refusal = (400, "malformed_request", "This is not a valid HTTP/1.1 request.")
        self._answer()

    def timeout_keep_alive_handler(self) -> None:
        self._disarm_head_timer()
        super().timeout_keep_alive_handler()

    def _unsupported_upgrade_warning(self) -> None:
        """The request is answered as a plain one; clients shall not write lines into the log."""

    def _progress(self) -> None:
        self._events += 1
        self._unread_bytes = 0

    def _count(self, size: int) -> None:
        self._progress()
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse_in_parser(*_TOO_LARGE)

    def _refuse_in_parser(self, status: int, code: str, message: str) -> None:
        """From within a parser's callback: ends the parsing, and `send_400_response` gives the answer."""
        self._refusal = (status, code, message)
        raise httptools.HttpParserError(code)

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._refusal = (status, code, message)
        self._answer()

    def _answer(self) -> None:
        self._disarm_head_timer()
        if self._refusal is None or self.transport.is_closing():
            return
        if self._is_answering():
            # An answer to an earlier request is on its way; nothing can be said in the midst of it.
            self.transport.abort()
            return
        status, code, message = self._refusal
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
        body = json.dumps({"error": error}).encode()
        head = (
            b"content-type: application/json\r\n"
            b"content-length: " + str(len(body)).encode() + b"\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(STATUS_LINE[status] + head + body)
        self._linger_timer = self.loop.call_later(LINGER_S, self.transport.close)

    def _discard(self, data: bytes) -> None:
        self._lingered_bytes += len(data)
        if self._lingered_bytes > MAX_LINGER_BYTES:
            self.transport.abort()

    def _is_refused(self) -> bool:
        return self._refusal is not None

    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _arm_head_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._head_is_late)

    def _disarm_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _disarm_unwanted_timer(self) -> None:
        if self._unwanted_timer is not None:
            self._unwanted_timer.cancel()
            self._unwanted_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._is_answering():
            # The next request waits behind an answer, and reading may be paused because of that.
            self._arm_head_timer()
        elif self._at is _At.HEAD:
            self._refuse(408, "request_timeout", f"The headers did not arrive within {HEAD_TIMEOUT_S:.0f} s.")
        elif self._at is _At.IDLE:
            self.transport.close()


_TOO_LARGE = (
    431,
    "headers_too_large",
    f"At most {MAX_HEADERS} headers of {MAX_HEAD_BYTES} bytes together are read.",
)
