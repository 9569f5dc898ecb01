"""An agent as the API and operators see it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from daalu_wire.v1 import agent_pb2

from control_plane.fleet.health import AgentHealth
from control_plane.fleet.pool_limits import Closed
from control_plane.fleet.view import Liveness
from control_plane.identifiers import AgentId


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """What this process knows of one agent now. Messages are the agent's own, and are not to be changed."""

    agent_id: AgentId
    liveness: Liveness
    # When its last sample came, by this host's clock; None: not since this process started.
    heard_unix_ms: int | None
    sample: agent_pb2.TelemetrySample | None
    inventory: agent_pb2.GetInventoryResponse | None
    certificate_expires_unix_ms: int
    # The agent's clock minus this host's, to within half a round trip; None: not known.
    clock_offset_ms: int | None
    desired_model_id: str | None
    # What is wrong, in words, by the part of the work that it stops: connection, probe, deployment,
    # receipts, renewal, ticket keys. Empty: nothing.
    problems: Mapping[str, str]
    # How well its cards are, as of the last sample.
    health: AgentHealth = field(default_factory=AgentHealth)
    # How far a change of its model is that running calls are waited for, in words; None: there is none.
    progress: str | None = None
    # Its owner's limit that forbids pool work now.
    pool_closed: Closed | None = None
