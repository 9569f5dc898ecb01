"""The order in which the parts of a control plane end."""

import asyncio
import os
import signal
from dataclasses import dataclass, field
from typing import Any

from control_plane.main import SIBLINGS, _Built, _run


@dataclass
class Parts:
    ended: list[str] = field(default_factory=list)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    address: str = "here"

    async def run_until_stopped(self) -> None:
        await self.stopped.wait()
        self.ended.append("listener")

    def stop(self) -> None:
        self.stopped.set()

    def part(self, name: str) -> Any:
        async def run() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                # As one that has something to write yet.
                for _ in range(5):
                    await asyncio.sleep(0)
                self.ended.append(name)

        return run


async def test_a_process_says_goodbye_to_its_siblings_when_everything_else_has_ended() -> None:
    parts = Parts()
    background = {name: parts.part(name) for name in (SIBLINGS, "gateway")}

    async def before_listening() -> None:
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGTERM)

    built = _Built([parts], background, before_listening)  # type: ignore[list-item]
    settings: Any = type("Told", (), {"listen": "a", "listen_plain": None, "public_url": "b"})
    await asyncio.wait_for(_run(built, settings), 10)
    assert parts.ended == ["listener", "gateway", SIBLINGS]
