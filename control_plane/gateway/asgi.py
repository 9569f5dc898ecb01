"""The gateway's edge where an ASGI server carries it: reading requests, and answering them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

from control_plane.gateway.errors import ClientGone, Condition, Refusal
from control_plane.gateway.limits import Limits
from control_plane.gateway.ports import Headers
from control_plane.gateway.watchdog import Watchdog

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class RequestHeaders:
    """The headers that the gateway reads; all others are ignored and never forwarded."""

    authorization: str | None
    # Where Anthropic's clients have it.
    api_key: str | None
    content_length: int | None
    purpose: str | None


def read_headers(raw: Iterable[tuple[bytes, bytes]], limits: Limits) -> RequestHeaders:
    """Raises Refusal."""
    size = 0
    authorization: str | None = None
    api_key: str | None = None
    content_length: int | None = None
    purpose: str | None = None
    for name, value in raw:
        size += len(name) + len(value)
        if name == b"authorization":
            authorization = value.decode("latin-1")
        elif name == b"x-api-key":
            api_key = value.decode("latin-1").strip()
        elif name == b"content-length":
            content_length = int(value) if value.isdigit() and len(value) < 20 else None
        elif name == b"x-daalu-purpose":
            purpose = value.decode("latin-1").strip().lower()
    if size > limits.request_headers_bytes:
        message = f"the request's headers are larger than {limits.request_headers_bytes} bytes"
        raise Refusal(Condition.HEADERS_TOO_LARGE, message)
    return RequestHeaders(authorization, api_key, content_length, purpose)


async def read_body(receive: Receive, content_length: int | None, limits: Limits) -> bytes:
    """Raises Refusal for a body too large or too slow, ClientGone."""
    too_large = f"the request's body is larger than {limits.request_body_bytes} bytes"
    if content_length is not None and content_length > limits.request_body_bytes:
        raise Refusal(Condition.BODY_TOO_LARGE, too_large)
    parts: list[bytes] = []
    size = 0
    ends = asyncio.get_running_loop().time() + limits.request_body_s
    while True:
        gap = asyncio.get_running_loop().time() + limits.request_body_gap_s
        try:
            async with asyncio.timeout_at(min(ends, gap)):
                message = await receive()
        except TimeoutError:
            slow = "the request's body came too slowly"
            raise Refusal(Condition.BODY_TOO_SLOW, slow, headers={"connection": "close"}) from None
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        size += len(part)
        if size > limits.request_body_bytes:
            # Not closed: that would reset the connection under the answer while the client still sends.
            raise Refusal(Condition.BODY_TOO_LARGE, too_large)
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


class AsgiClient:
    """One client. While open(), a task waits for word that it is gone."""

    def __init__(self, receive: Receive, send: Send, limits: Limits) -> None:
        self._receive = receive
        self._send = send
        self._limits = limits
        self._watcher: asyncio.Task[None] | None = None
        self._watchdog = Watchdog(self._give_up)
        self._sending: asyncio.Task[Any] | None = None
        self._stalled = False
        self._ended = False
        self.on_gone: Callable[[], None] | None = None
        self.gone = False
        self.started = False

    def open(self) -> None:
        """To be called when the body has been read."""
        self._watcher = asyncio.create_task(self._watch())

    async def close(self) -> None:
        self._watchdog.stop()
        if self._watcher is not None:
            self._watcher.cancel()

    async def start(self, status: int, headers: Headers) -> None:
        self._check()
        await self._pass_on({"type": "http.response.start", "status": status, "headers": list(headers)})
        self.started = True

    async def send(self, data: bytes) -> None:
        self._check()
        await self._pass_on({"type": "http.response.body", "body": data, "more_body": True})
        self._check()

    async def end(self, data: bytes = b"") -> None:
        self._check()
        self._ended = True
        await self._pass_on({"type": "http.response.body", "body": data, "more_body": False})

    def _check(self) -> None:
        if self.gone:
            raise ClientGone

    async def _pass_on(self, message: Message) -> None:
        self._sending = asyncio.current_task()
        self._watchdog.begin(self._limits.client_stall_s)
        try:
            await self._send(message)
        except OSError:
            self._is_gone()
            raise ClientGone from None
        except asyncio.CancelledError:
            if self._stalled and self._sending is not None and self._sending.uncancel() == 0:
                raise ClientGone from None
            raise
        finally:
            self._watchdog.end()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._ended:
            self._is_gone()

    def _give_up(self) -> None:
        """The client accepts nothing: the send that waits for it is cancelled, and nothing else."""
        self._stalled = True
        self._is_gone()
        if self._sending is not None:
            self._sending.cancel()

    def _is_gone(self) -> None:
        self.gone = True
        if self.on_gone is not None:
            self.on_gone()
            self.on_gone = None
