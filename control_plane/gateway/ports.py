"""What the gateway needs of other rooms and of its transport."""

from collections.abc import Callable, Container, Sequence
from typing import Protocol

from control_plane.access import Principal
from control_plane.economy import Offers, TenantEconomy, Tokens
from control_plane.fleet import FleetView, TicketKey
from control_plane.gateway.request import InferenceRequest
from control_plane.identifiers import AgentId, TenantId


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


class Economy(Protocol):
    """Who may use what under what terms, from memory."""

    def tenant(self, tenant_id: TenantId) -> TenantEconomy: ...

    def offers(self, tenant_id: TenantId, model: str, now_unix_ms: int) -> Offers: ...

    def priced_models(self) -> frozenset[str]: ...


class AnswerText(Protocol):
    """What a client was given of one answer, kept to be counted."""

    def events(self, data: bytes) -> None:
        """Whole server-sent events, as they went out."""
        ...

    def whole(self, body: bytes) -> None:
        """A whole answer's body."""
        ...

    def so_far(self) -> "AnswerText":
        """What came until now, to be counted while more comes."""
        ...


class Counting(Protocol):
    """The gateway's own count of tokens, with the models' own tokenizers."""

    @property
    def models(self) -> Container[str]:
        """Catalogue ids of the models that it can count."""
        ...

    def text_of(self, request: InferenceRequest) -> AnswerText: ...

    async def prompt_tokens(self, model_id: str, request: InferenceRequest) -> int: ...

    async def count(self, model_id: str, request: InferenceRequest, text: AnswerText) -> Tokens: ...


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
