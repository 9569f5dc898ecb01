"""What main needs of a link to the hub, and the link that is none: direct mode."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from agent.identity import DIRECT_ADDRESS


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """For people; values that do not apply are None."""

    # In words: which kind of link this is and how it fares.
    words: str
    address: str
    interface: str | None = None
    hub_endpoint: str | None = None
    # 0: never.
    latest_handshake_unix_s: int | None = None
    received_bytes: int | None = None
    sent_bytes: int | None = None
    process_id: int | None = None


class Link(Protocol):
    """How the control plane reaches this host."""

    @property
    def address(self) -> str:
        """What daemon and engine listen on."""
        ...

    async def up(self) -> None:
        """Returns once the address can be bound. Adopts what an earlier daemon left running."""
        ...

    async def run(self) -> None:
        """Keeps the link as it should be until cancelled, and leaves it so."""
        ...

    async def down(self) -> None:
        """Leaves nothing: no interface, process or rule."""
        ...

    async def status(self) -> LinkStatus:
        """Reads; changes nothing."""
        ...


class DirectLink:
    """No tunnel: control plane and agent are on one machine and meet on loopback."""

    address = DIRECT_ADDRESS

    async def up(self) -> None:
        return

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def down(self) -> None:
        return

    async def status(self) -> LinkStatus:
        return LinkStatus("NO TUNNEL: direct mode, this machine only", self.address)
