"""Word to the service manager, over the datagram socket that it names in NOTIFY_SOCKET (sd_notify(3))."""

import asyncio
import os
import socket
from collections.abc import Mapping


def notify(message: str, environment: Mapping[str, str] = os.environ) -> None:
    """Nothing where nobody listens. Raises OSError."""
    address = environment.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.sendto(message.encode(), "\0" + address[1:] if address.startswith("@") else address)


async def watchdog(environment: Mapping[str, str] = os.environ) -> None:
    """Says that the event loop turns, twice as often as the service manager asks for; until cancelled."""
    asked = environment.get("WATCHDOG_USEC", "")
    if not asked.isdecimal() or int(asked) == 0:
        return
    while True:
        notify("WATCHDOG=1", environment)
        await asyncio.sleep(int(asked) / 2_000_000)
