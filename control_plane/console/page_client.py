"""A client of the gateway's that is a page of ours: what comes for it waits in memory until the page's own
answer takes it on."""

import asyncio
from collections.abc import AsyncIterator, Callable

from control_plane.gateway import ClientGone, Headers

# What has been accepted and not taken: it counts as delivered, so it is little.
MOST_WAITING_BYTES = 16_384
# A page that takes nothing for so long is gone.
STALL_S = 60.0


class PageClient:
    """A Client of the gateway's. `pieces` has one reader, who says `lost` when nobody reads any more."""

    def __init__(self) -> None:
        self.on_gone: Callable[[], None] | None = None
        self.gone = False
        self.started = False
        self.status = 0
        self._call_id: str | None = None
        self._ended = False
        self._waiting = bytearray()
        # Set whenever something is to be looked at again, by either side.
        self._came = asyncio.Event()
        self._taken = asyncio.Event()

    @property
    def call_id(self) -> str | None:
        """None: nothing has come yet, or it was refused before it was a call."""
        return self._call_id

    async def start(self, status: int, headers: Headers) -> None:
        if self.gone:
            raise ClientGone
        self.started, self.status = True, status
        self._call_id = next(
            (value.decode() for name, value in headers if name == b"x-daalu-call-id"), self._call_id
        )
        self._came.set()

    async def send(self, data: bytes) -> None:
        while len(self._waiting) > MOST_WAITING_BYTES and not self.gone:
            self._taken.clear()
            try:
                async with asyncio.timeout(STALL_S):
                    await self._taken.wait()
            except TimeoutError:
                self.lost()
        if self.gone:
            raise ClientGone
        self._waiting += data
        self._came.set()

    def send_now(self, data: bytes) -> bool:
        if self.gone or len(self._waiting) > MOST_WAITING_BYTES:
            return False
        self._waiting += data
        self._came.set()
        return True

    async def end(self, data: bytes = b"") -> None:
        await self.send(data)
        self._ended = True

    async def pieces(self) -> AsyncIterator[bytes]:
        """What came since the last one, empty where that was only a status; until the end, or close()."""
        while True:
            await self._came.wait()
            self._came.clear()
            data = bytes(self._waiting)
            self._waiting.clear()
            self._taken.set()
            # Looked at with no wait since the data was taken: nothing can have come between.
            ended = self._ended or self.gone
            yield data
            if ended:
                return

    def close(self) -> None:
        """Nothing more comes, whether or not an end did."""
        self._ended = True
        self._came.set()

    def lost(self) -> None:
        """The page is gone: the gateway stops the engine's work. After the end: nothing."""
        if self._ended:
            return
        self.gone = True
        self._came.set()
        self._taken.set()
        on_gone, self.on_gone = self.on_gone, None
        if on_gone is not None:
            on_gone()
