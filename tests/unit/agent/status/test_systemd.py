"""The service manager hears what it asked for."""

import asyncio
import socket
from pathlib import Path

from agent.status import notify, watchdog


def test_without_a_service_manager_nothing_is_said() -> None:
    notify("READY=1", {})


async def test_readiness_and_watchdog_reach_the_socket_that_is_named(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
        notify("READY=1", environment)
        assert manager.recv(100) == b"READY=1"
        task = asyncio.create_task(watchdog(environment))
        assert await asyncio.to_thread(manager.recv, 100) == b"WATCHDOG=1"
        task.cancel()


async def test_without_a_watchdog_its_task_just_ends() -> None:
    await watchdog({"NOTIFY_SOCKET": "/nowhere"})
