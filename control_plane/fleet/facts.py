"""What the store says of an agent, as a frozen value."""

from dataclasses import dataclass

from control_plane.fleet.pool_limits import NO_LIMITS, PoolLimits
from control_plane.identifiers import AgentId, TenantId
from control_plane.store.tables import Connection

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Desired:
    """The model that an agent is wanted to serve (None: none) and when that was said."""

    model_id: str | None
    changed_unix_ms: int


@dataclass(frozen=True, slots=True)
class AgentFacts:
    agent_id: AgentId
    tenant_id: TenantId
    name: str
    connection: Connection
    # The tunnel address, or 127.0.0.1 in direct mode.
    host: str
    rpc_port: int
    engine_port: int
    tls_key_sha256: bytes
    certificate_pem: str
    certificate_expires_unix_ms: int
    ticket_key_generation: int
    desired: Desired
    # Wishes that hold until they are taken back: no new call at all; no new call of a pool.
    drained: bool = False
    pool_paused: bool = False
    # What its owner allows of pool work.
    pool_limits: PoolLimits = NO_LIMITS

    @property
    def rpc_target(self) -> str:
        """In gRPC's form: an IPv6 address stands in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.rpc_port}"

    @property
    def tls_name(self) -> str:
        return f"{self.agent_id}.agent.daalu.internal"
