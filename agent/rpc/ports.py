"""What this room asks of its neighbours."""

import datetime as dt
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Protocol

from daalu_wire.v1 import agent_pb2

from agent.identity import Credentials


class EngineFacade(Protocol):
    """The engine room's Engine."""

    def deploy(self, reference: agent_pb2.CatalogueReference) -> AsyncIterator[agent_pb2.DeployProgress]: ...

    async def stop(self, grace_ms: int) -> None: ...

    async def drain(self) -> int: ...

    async def resume(self) -> None: ...

    async def refuse_pool(self, refused: bool) -> None: ...

    def sample(self) -> agent_pb2.EngineSample: ...

    def install_ticket_keys(self, keys: Iterable[agent_pb2.TicketKey]) -> None: ...

    def receipts(self, after_sequence: int) -> AsyncIterator[agent_pb2.Receipt]: ...

    def acknowledge(self, sequence: int) -> None: ...

    def catalogue(self) -> list[agent_pb2.CatalogueReference]: ...


class CredentialStore(Protocol):
    """The identity room's State."""

    def credentials(self, now: dt.datetime) -> Credentials: ...

    def install_certificate(self, certificate_pem: str, roots_pem: Sequence[str]) -> dt.datetime: ...
