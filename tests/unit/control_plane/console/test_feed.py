import asyncio
import json

import pytest

from control_plane.access import Unknown
from control_plane.console.feed import Feeds, Parts


async def _good() -> bool:
    return True


async def test_all_viewers_of_a_page_share_what_is_rendered_once() -> None:
    feeds, rendered = Feeds(), 0

    async def render() -> Parts:
        nonlocal rendered
        rendered += 1
        return {"head": "one"}

    streams = [feeds.stream(("factory", "ten-1"), f"usr-{number}", render, _good) for number in range(50)]
    events = await asyncio.gather(*(anext(stream) for stream in streams))
    assert set(events) == {b'data: {"head": "one"}\n\n'}
    assert rendered == 1
    assert feeds.streams_count == 50
    for stream in streams:
        await stream.aclose()  # type: ignore[attr-defined]  # it is a generator
    assert feeds.streams_count == 0


async def test_closing_ends_every_stream() -> None:
    feeds = Feeds()

    async def render() -> Parts:
        return {"head": "one"}

    stream = feeds.stream(("factory", "ten-1"), "usr-1", render, _good)
    assert json.loads((await anext(stream)).decode().removeprefix("data: ")) == {"head": "one"}
    feeds.close()
    assert [event async for event in stream] == []


async def test_a_page_of_what_is_gone_is_over() -> None:
    async def render() -> Parts:
        raise Unknown("agent", "agt-1")

    stream = Feeds().stream(("factory", "ten-1", "agt-1"), "usr-1", render, _good)
    assert [event async for event in stream] == [b"event: over\ndata: \n\n"]


async def test_who_looks_on_gets_what_changed_and_who_comes_later_gets_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("control_plane.console.feed.EVERY_S", 0.01)
    head = ["one"]

    async def render() -> Parts:
        return {"head": head[0], "tiles": "warm"}

    feeds = Feeds()
    first = feeds.stream(("factory", "ten-1"), "usr-1", render, _good)
    assert _parts(await anext(first)) == {"head": "one", "tiles": "warm"}
    head[0] = "two"
    assert _parts(await anext(first)) == {"head": "two"}
    second = feeds.stream(("factory", "ten-1"), "usr-2", render, _good)
    assert _parts(await anext(second)) == {"head": "two", "tiles": "warm"}
    head[0] = "three"
    assert _parts(await anext(second)) == {"head": "three"}
    assert _parts(await anext(first)) == {"head": "three"}
    for stream in (first, second):
        await stream.aclose()  # type: ignore[attr-defined]  # it is a generator


def _parts(event: bytes) -> Parts:
    parts: Parts = json.loads(event.decode().removeprefix("data: "))
    return parts
