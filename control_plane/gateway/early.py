"""When a stream's status and headers go out: with the first content, or early and alone if that is late."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from control_plane.gateway.errors import ClientGone
from control_plane.gateway.limits import Limits
from control_plane.gateway.ports import Client, Headers

PING = b": ping\n\n"
SSE_HEADERS: Headers = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
)


class EarlyStart:
    """For one streamed call, over all its attempts. stop() is to be called whatever happens."""

    def __init__(
        self,
        client: Client,
        limits: Limits,
        own: Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"],
        early_headers: Headers,
        served_headers: Callable[[], Headers],
    ) -> None:
        """`early_headers` go out where the first content is late; `served_headers` say by then where the
        call is served, and follow as a comment where the early ones have gone."""
        self._client = client
        self._limits = limits
        self._own = own
        self._early_headers = early_headers
        self._served_headers = served_headers
        self._pinging: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(limits.early_headers_s, self._fire)
        self.content_started = False

    async def begin_content(self) -> None:
        """Returns when content may be sent. Raises ClientGone."""
        await self.stop()
        self.content_started = True
        served = self._served_headers()
        if self._client.started:
            await self._client.send(b": " + b" ".join(b"=".join(header) for header in served) + b"\n\n")
        else:
            await self._client.start(200, (*SSE_HEADERS, *served))

    async def stop(self) -> None:
        """No early headers and no pings from here on."""
        self._timer.cancel()
        if self._pinging is not None:
            pinging, self._pinging = self._pinging, None
            pinging.cancel()
            # Not awaited itself: its cancellation is not to be taken for our own, nor ours for its.
            await asyncio.wait((pinging,))

    def _fire(self) -> None:
        self._pinging = self._own(self._ping())

    async def _ping(self) -> None:
        with suppress(ClientGone):
            await self._client.start(200, (*SSE_HEADERS, *self._early_headers))
            while True:
                await self._client.send(PING)
                await asyncio.sleep(self._limits.ping_every_s)
