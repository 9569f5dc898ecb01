"""What the gateway needs of other rooms and of its transport."""

from collections.abc import Callable, Sequence
from typing import Protocol

from control_plane.access import Principal
from control_plane.fleet import FleetView, TicketKey
from control_plane.identifiers import AgentId


class Access(Protocol):
    def authenticate(self, token: str) -> Principal | None:
        """From memory; None: unknown or revoked."""
        ...


class Fleet(Protocol):
    @property
    def view(self) -> FleetView: ...

    def ticket_key(self, agent_id: AgentId) -> TicketKey: ...

    def on_lost(self, callback: Callable[[AgentId, str], None]) -> None:
        """With the reason: "revoked", or words that begin with "out"."""
        ...


Headers = Sequence[tuple[bytes, bytes]]


class Client(Protocol):
    """Who waits for the answer, whatever carries it there. Raises ClientGone from every method."""

    # Called once, at the moment when the client is known to be gone.
    on_gone: Callable[[], None] | None

    @property
    def gone(self) -> bool: ...

    @property
    def started(self) -> bool:
        """Whether a status has been sent."""
        ...

    async def start(self, status: int, headers: Headers) -> None: ...

    async def send(self, data: bytes) -> None:
        """Returns when the transport has accepted `data`."""
        ...

    def send_now(self, data: bytes) -> bool:
        """As send() where that need not wait; False, and nothing is done, where it must, or the client is
        gone."""
        ...

    async def end(self, data: bytes = b"") -> None: ...
