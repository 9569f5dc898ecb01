"""An enrolled agent's server on loopback with a scripted engine, and clients of all kinds."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from daalu_wire.v1 import agent_pb2
from daalu_wire.v1.agent_pb2_grpc import AgentServiceStub

from agent.cards import CardReader, SimulatedReader
from agent.diagnostics import Examination, Subject
from agent.engine import NotInCatalogue
from agent.identity import Identity, State, TunnelSettings
from agent.rpc import AgentServer
from agent.tunnel import DirectLink
from tests.support import fleet_authority
from tests.support.fleet_authority import ShortLivedAuthority, key_pem, new_key, request_pem

if TYPE_CHECKING:
    # There for type checkers only.
    from daalu_wire.v1.agent_pb2_grpc import AgentServiceAsyncStub

AGENT_ID = "agt_1"
TLS_NAME = f"{AGENT_ID}.agent.daalu.internal"
WIREGUARD_PUBLIC_KEY = "A" * 43 + "="
REFERENCE = agent_pb2.CatalogueReference(model_id="tiny", digest="d" * 64)


class Authority(ShortLivedAuthority):
    """Also signs clients that are not the control plane."""

    def issue_client_certificate(self, name: str) -> tuple[str, str]:
        key = new_key()
        certificate = fleet_authority._certificate(
            name,
            key.public_key(),
            "root",
            self.key,
            dt.timedelta(days=1),
            names=[x509.DNSName(name)],
            usage=ExtendedKeyUsageOID.CLIENT_AUTH,
        )
        return certificate, key_pem(key)


class AnyAuthority(Protocol):
    """What enrolled the agent: the short-lived one of these tests, or the product's own."""

    @property
    def root_certificates_pem(self) -> list[str]: ...

    def sign_agent_certificate(self, csr_pem: str, agent_id: str, address: str) -> str: ...

    def issue_control_plane_certificate(self) -> tuple[str, str]: ...


class ScriptedEngine:
    """Does nothing, remembers what it was asked, and reports what a test set."""

    def __init__(self) -> None:
        self.deployed: list[str] = []
        self.grace_ms: int | None = None
        self.drained = False
        self.pool_refused = False
        self.keys: dict[int, bytes] = {}
        self.acknowledged = 0
        self.journal: list[agent_pb2.Receipt] = []
        self.receipts_open = 0
        self.changed = asyncio.Event()

    async def deploy(
        self, reference: agent_pb2.CatalogueReference
    ) -> AsyncIterator[agent_pb2.DeployProgress]:
        if reference != REFERENCE:
            raise NotInCatalogue(f"this host's catalogue has no model {reference.model_id!r}")
        self.deployed.append(reference.model_id)
        for phase in (agent_pb2.ENGINE_PHASE_LOADING, agent_pb2.ENGINE_PHASE_READY):
            yield agent_pb2.DeployProgress(phase=phase)

    async def stop(self, grace_ms: int) -> None:
        self.grace_ms = grace_ms

    async def drain(self) -> int:
        self.drained = True
        return 3

    async def resume(self) -> None:
        self.drained = False

    async def refuse_pool(self, refused: bool) -> None:
        self.pool_refused = refused

    def sample(self) -> agent_pb2.EngineSample:
        return agent_pb2.EngineSample(phase=agent_pb2.ENGINE_PHASE_READY, running_calls=2)

    async def probe(self, timeout_s: float) -> float:
        return 0.1

    def install_ticket_keys(self, keys: Iterable[agent_pb2.TicketKey]) -> None:
        keys = list(keys)
        if any(len(key.key) != 32 for key in keys):
            raise ValueError("ticket keys have 32 bytes each")
        self.keys = {key.id: key.key for key in keys}

    async def receipts(self, after_sequence: int) -> AsyncIterator[agent_pb2.Receipt]:
        self.receipts_open += 1
        try:
            while True:
                self.changed.clear()
                for receipt in [each for each in self.journal if each.sequence > after_sequence]:
                    after_sequence = receipt.sequence
                    yield receipt
                await self.changed.wait()
        finally:
            self.receipts_open -= 1
            self.changed.set()

    def acknowledge(self, sequence: int) -> None:
        self.acknowledged = sequence
        self.changed.set()

    def catalogue(self) -> list[agent_pb2.CatalogueReference]:
        return [REFERENCE]

    def add_receipts(self, *sequences: int) -> None:
        self.journal.extend(agent_pb2.Receipt(sequence=sequence) for sequence in sequences)
        self.changed.set()


def enrolled_state(
    directory: Path,
    authority: AnyAuthority,
    *,
    address: str = "127.0.0.1",
    hub_address: str | None = None,
) -> State:
    """The real files of an agent that `authority` has enrolled; in direct mode without a hub address."""
    directory.mkdir(mode=0o700)
    state = State(directory)
    _, tls_key = state.make_keys()
    certificate_pem = authority.sign_agent_certificate(tls_key.certificate_request_pem(), AGENT_ID, address)
    tunnel = hub_address and TunnelSettings(
        address, hub_address, "127.0.0.0/8", WIREGUARD_PUBLIC_KEY, "192.0.2.1:51820", 1280, 25
    )
    identity = Identity(
        AGENT_ID, "host", "tenant", "https://control.example", "0" * 64, 1, 2, tunnel=tunnel or None
    )
    state.enrol(identity, certificate_pem, authority.root_certificates_pem)
    return state


@dataclass
class RunningAgent:
    """A server that listens, and what it was built of."""

    server: AgentServer
    state: State
    engine: ScriptedEngine
    authority: AnyAuthority
    address: str = "127.0.0.1"
    channels: list[grpc.aio.Channel] = field(default_factory=list)

    def stub(
        self, client: tuple[str, str] | None = None, *, roots_pem: str = "", certified: bool = True
    ) -> "AgentServiceAsyncStub":
        """A client of its own connection; `client`: certificate and key, the control plane's if not given."""
        certificate_pem, key_pem = client or self.authority.issue_control_plane_certificate()
        roots = roots_pem or "".join(self.authority.root_certificates_pem)
        credentials = (
            grpc.ssl_channel_credentials(roots.encode(), key_pem.encode(), certificate_pem.encode())
            if certified
            else grpc.ssl_channel_credentials(roots.encode())
        )
        options = [
            ("grpc.ssl_target_name_override", TLS_NAME),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
        ]
        channel = grpc.aio.secure_channel(f"{self.address}:{self.server.port}", credentials, options=options)
        self.channels.append(channel)
        return AgentServiceStub(channel)


@contextlib.asynccontextmanager
async def running_agent(
    state: State, authority: AnyAuthority, cards: CardReader | None = None, port: int = 0
) -> AsyncIterator[RunningAgent]:
    identity = state.identity()
    assert identity is not None
    engine = ScriptedEngine()
    cards = cards or SimulatedReader()
    subject = Subject(cards, DirectLink(), engine, state.directory, state.directory)
    server = AgentServer(identity, state, cards, engine, Examination(subject))
    server.port = port
    agent = RunningAgent(server, state, engine, authority, identity.address)
    task = asyncio.create_task(server.run())
    try:
        listening = asyncio.create_task(server.listening.wait())
        await asyncio.wait([task, listening], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            listening.cancel()
            task.result()
        yield agent
    finally:
        for channel in agent.channels:
            await channel.close()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def certificate_of_another_agent(authority: AnyAuthority) -> tuple[str, str]:
    key = new_key()
    pem = authority.sign_agent_certificate(request_pem(key, "other"), "agt_2", "127.0.0.1")
    return pem, key_pem(key)


def tls_key_of(state: State) -> ec.EllipticCurvePrivateKey:
    key = state.tls_key()
    assert key is not None
    return key.key
