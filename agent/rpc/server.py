"""The server itself: where it listens, its limits, and its life."""

import asyncio
import datetime as dt
import logging

import grpc
from daalu_wire.v1 import agent_pb2_grpc

from agent.cards import CardReader
from agent.diagnostics import Examination
from agent.identity import Identity
from agent.rpc.admission import Rule
from agent.rpc.contact import Contact
from agent.rpc.doorkeeper import Doorkeeper
from agent.rpc.ports import CredentialStore, EngineFacade
from agent.rpc.renewal import Renewal
from agent.rpc.service import AgentService
from agent.rpc.shown import ShownCredentials
from agent.rpc.telemetry import Telemetry

log = logging.getLogger(__name__)

# One control plane keeps four or five calls open; two may overlap when it is replaced.
CALLS_MAX = 64
# The largest that comes in is a certificate with two roots, the largest that goes out an inventory.
RECEIVE_MAX_BYTES = 65_536
SEND_MAX_BYTES = 1_048_576
METADATA_MAX_BYTES = 16_384
HANDSHAKE_TIMEOUT_MS = 10_000
# The control plane pings every 10 s; without this the server takes that for an attack.
CLIENT_PING_MIN_MS = 5_000
# A control plane that vanished without a word is let go of after these two.
PING_MS = 10_000
PING_TIMEOUT_MS = 10_000
STOP_GRACE_S = 0.5

_OPTIONS = [
    ("grpc.max_receive_message_length", RECEIVE_MAX_BYTES),
    ("grpc.max_send_message_length", SEND_MAX_BYTES),
    ("grpc.max_metadata_size", METADATA_MAX_BYTES),
    ("grpc.absolute_max_metadata_size", METADATA_MAX_BYTES),
    ("grpc.max_concurrent_streams", CALLS_MAX),
    ("grpc.server_handshake_timeout_ms", HANDSHAKE_TIMEOUT_MS),
    ("grpc.http2.min_ping_interval_without_data_ms", CLIENT_PING_MIN_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", PING_MS),
    ("grpc.keepalive_timeout_ms", PING_TIMEOUT_MS),
    # A second daemon on this port is an error, not a partner.
    ("grpc.so_reuseport", 0),
]


class CannotListen(Exception):
    """The address cannot be listened on; the text says what to do."""


class AgentServer:
    """Built once; `run` serves until it is cancelled."""

    def __init__(
        self,
        identity: Identity,
        store: CredentialStore,
        cards: CardReader,
        engine: EngineFacade,
        examination: Examination,
    ) -> None:
        """`store` is the identity room's State. Raises StateError."""
        self._identity = identity
        self._contact = Contact()
        self._shown = ShownCredentials(store)
        telemetry = Telemetry(cards, engine, self._contact)
        self._service = AgentService(cards, engine, telemetry, Renewal(identity, self._shown), examination)
        # Set while the server listens.
        self.listening = asyncio.Event()
        self.port = identity.rpc_port

    @property
    def last_contact(self) -> dt.datetime | None:
        """When the control plane was last here (UTC); None: not since the daemon started."""
        return self._contact.last

    async def run(self) -> None:
        """Raises CannotListen. The address must be there already: the tunnel's interface comes first."""
        rule = Rule(None if self._identity.direct else self._identity.hub_address)
        server = grpc.aio.server(
            interceptors=[Doorkeeper(rule, self._shown, self._contact)],
            options=_OPTIONS,
            maximum_concurrent_rpcs=CALLS_MAX,
        )
        agent_pb2_grpc.add_AgentServiceServicer_to_server(self._service, server)
        self._listen(server)
        await server.start()
        self.listening.set()
        log.info("the control plane is awaited on %s", self._target())
        try:
            await server.wait_for_termination()
        finally:
            self.listening.clear()
            await asyncio.shield(server.stop(STOP_GRACE_S))

    def _listen(self, server: grpc.aio.Server) -> None:
        try:
            port = server.add_secure_port(self._target(), self._shown.server_credentials())
        except RuntimeError as error:
            port = 0
            log.debug("listening on %s: %s", self._target(), error)
        if not port:
            raise CannotListen(
                f"cannot listen on {self._target()}: another program has the port (`ss -ltnp`), or the "
                "address is not on this host (`ip address`)"
            )
        self.port = port

    def _target(self) -> str:
        address = self._identity.address
        return f"[{address}]:{self.port}" if ":" in address else f"{address}:{self.port}"
