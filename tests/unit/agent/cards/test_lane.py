"""The driver's thread: one call at a time, and a deadline for whoever waits."""

import asyncio
import threading

import pytest

from agent.cards.lane import Hung, Lane


async def test_work_runs_in_one_thread_that_is_not_the_event_loops() -> None:
    lane = Lane("test")
    threads = [await lane.run(threading.get_ident, 5.0) for _ in range(3)]
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()
    lane.close()


async def test_what_the_work_raises_reaches_whoever_asked() -> None:
    lane = Lane("test")
    with pytest.raises(ZeroDivisionError):
        await lane.run(lambda: 1 // 0, 5.0)
    assert await lane.run(lambda: 1, 5.0) == 1
    lane.close()


async def test_work_past_its_deadline_is_given_up_on_and_later_work_waits_for_it() -> None:
    lane = Lane("test")
    free = threading.Event()
    with pytest.raises(Hung):
        await lane.run(free.wait, 0.01)
    with pytest.raises(Hung):
        await lane.run(lambda: 2, 0.01)
    free.set()
    assert await lane.run(lambda: 3, 5.0) == 3
    lane.close()


async def test_work_that_was_asked_for_at_once_is_all_done() -> None:
    lane = Lane("test")
    numbers = await asyncio.gather(*(lane.run(lambda number=number: number, 5.0) for number in range(20)))  # type: ignore[misc]
    assert numbers == list(range(20))
    lane.close()


async def test_whoever_stops_waiting_does_not_break_the_lane() -> None:
    lane = Lane("test")
    free = threading.Event()
    waiting = asyncio.create_task(lane.run(free.wait, 5.0))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    free.set()
    assert await lane.run(lambda: 4, 5.0) == 4
    lane.close()
