"""Feeds: what changes on a page, rendered once for all of its viewers and sent as server-sent events."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError

from control_plane.access import Unknown

logger = logging.getLogger(__name__)

# Together with an agent's sample every 2 s: a reading is on the page within 5 s.
EVERY_S = 2.0
# A stream with nothing to say says so: proxies keep it, and the browser knows that it is there.
QUIET_S = 10.0
# How many streams there may be at once; each holds a connection.
MAX_STREAMS = 500
MAX_STREAMS_PER_VIEWER = 20

_OVER = b"event: over\ndata: \n\n"
Parts = dict[str, str]
Render = Callable[[], Awaitable[Parts]]


@dataclass(slots=True)
class _Feed:
    """One page of one tenant, as long as anybody looks at it."""

    latest: Parts = field(default_factory=dict)
    version: int = 0
    # What the newest version changed, encoded once for all who have seen the one before.
    newest: bytes = b""
    viewers: int = 0
    # There is nothing to look at any more.
    is_over: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None


class TooManyStreams(Exception):
    """As many pages are open as may be."""


class Feeds:
    """`close` ends every stream, so that a stopping process need not wait for its browsers."""

    def __init__(self) -> None:
        self._feeds: dict[tuple[str, ...], _Feed] = {}
        self._by_viewer: dict[str, int] = {}
        self._closing = asyncio.Event()

    def close(self) -> None:
        self._closing.set()
        for feed in self._feeds.values():
            feed.changed.set()

    @property
    def streams_count(self) -> int:
        return sum(self._by_viewer.values())

    def admit(self, viewer: str) -> None:
        """Raises TooManyStreams where `stream` would."""
        mine = self._by_viewer.get(viewer, 0)
        if self.streams_count >= MAX_STREAMS or mine >= MAX_STREAMS_PER_VIEWER:
            raise TooManyStreams

    async def stream(
        self, key: tuple[str, ...], viewer: str, render: Render, is_good: Callable[[], Awaitable[bool]]
    ) -> AsyncIterator[bytes]:
        """`key` names tenant and page: who shares it, shares what is rendered. `is_good`: whether the viewer
        may still look; asked every QUIET_S. Raises TooManyStreams."""
        self.admit(viewer)
        self._by_viewer[viewer] = self._by_viewer.get(viewer, 0) + 1
        feed = self._feeds.setdefault(key, _Feed())
        feed.viewers += 1
        if feed.task is None:
            feed.task = asyncio.create_task(_follow(feed, render), name=f"feed {'/'.join(key)}")
        try:
            async for event in self._events(feed, is_good):
                yield event
        finally:
            self._by_viewer[viewer] -= 1
            if not self._by_viewer[viewer]:
                del self._by_viewer[viewer]
            feed.viewers -= 1
            if not feed.viewers:
                feed.task.cancel()
                del self._feeds[key]

    async def _events(self, feed: _Feed, is_good: Callable[[], Awaitable[bool]]) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        version, shown = -1, Parts()
        look_again_at = loop.time() + QUIET_S
        while not self._closing.is_set():
            # Taken before the look: what changes during a yield is seen at the next turn.
            changed = feed.changed
            if feed.is_over:
                yield _OVER
                return
            if feed.version not in (0, version):
                event = feed.newest if version == feed.version - 1 else _event(shown, feed.latest)
                version, shown = feed.version, feed.latest
                yield event
            try:
                async with asyncio.timeout_at(look_again_at):
                    await changed.wait()
            except TimeoutError:
                look_again_at = loop.time() + QUIET_S
                if not await is_good():
                    # The browser loads the page again, and is asked to sign in.
                    yield _OVER
                    return
                yield b": still here\n\n"


def _event(before: Parts, now: Parts) -> bytes:
    fresh = {name: html for name, html in now.items() if before.get(name) != html}
    return b"data: " + json.dumps(fresh).encode() + b"\n\n"


async def _follow(feed: _Feed, render: Render) -> None:
    while True:
        try:
            parts = await render()
        except Unknown:
            # What was looked at is gone; the page is loaded again, and says so.
            feed.is_over = True
            feed.changed.set()
            return
        except SQLAlchemyError:
            # What is shown stays, with its times; the log says why.
            logger.exception("a page could not be rendered, trying again in %s s", EVERY_S)
        else:
            if parts != feed.latest:
                feed.newest = _event(feed.latest, parts)
                feed.latest, feed.version = parts, feed.version + 1
                before, feed.changed = feed.changed, asyncio.Event()
                before.set()
        await asyncio.sleep(EVERY_S)
