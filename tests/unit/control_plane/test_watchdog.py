"""The deadline of waits that follow one another closely."""

import asyncio

from control_plane.watchdog import Watchdog


async def test_a_wait_beyond_its_limit_is_noticed_once() -> None:
    fired: list[float] = []
    expired = asyncio.Event()
    loop = asyncio.get_running_loop()

    def expire() -> None:
        fired.append(loop.time())
        expired.set()

    watchdog = Watchdog(expire)
    began = loop.time()
    watchdog.begin(0.05)
    await asyncio.wait_for(expired.wait(), 2)
    await asyncio.sleep(0.1)
    assert len(fired) == 1
    assert fired[0] - began >= 0.05


async def test_waits_that_end_in_time_are_not() -> None:
    fired: list[None] = []
    watchdog = Watchdog(lambda: fired.append(None))
    for _ in range(5):
        watchdog.begin(0.05)
        await asyncio.sleep(0.02)
        watchdog.end()
    await asyncio.sleep(0.1)
    assert fired == []


async def test_a_shorter_wait_after_a_longer_one_has_its_own_limit() -> None:
    expired = asyncio.Event()
    watchdog = Watchdog(expired.set)
    watchdog.begin(60)
    watchdog.end()
    watchdog.begin(0.02)
    await asyncio.wait_for(expired.wait(), 2)


async def test_a_stopped_watchdog_is_quiet() -> None:
    fired: list[None] = []
    watchdog = Watchdog(lambda: fired.append(None))
    watchdog.begin(0.02)
    watchdog.stop()
    await asyncio.sleep(0.06)
    assert fired == []
