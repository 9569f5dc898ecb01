"""The fleet as the router sees it: plain values, replaced whole, never changed in place."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from control_plane.fleet.health_rules import Health
from control_plane.fleet.pool_limits import Closed
from control_plane.identifiers import AgentId, TenantId


class Liveness(StrEnum):
    """How sure the control plane is that an agent can be reached."""

    NEVER = "never"  # enrolled, not heard of since this process started
    LIVE = "live"
    SUSPECT = "suspect"  # silent for 10 s; still routed to
    OUT = "out"  # silent for 15 s; back after a good sample and a probe


@dataclass(frozen=True, slots=True)
class EngineView:
    """An agent's engine, from its last sample."""

    model_id: str
    served_name: str
    ready: bool
    draining: bool
    context_tokens: int
    running_calls: int
    waiting_calls: int
    max_running_calls: int
    # In words: what it is doing, or why it cannot serve.
    detail: str


@dataclass(frozen=True, slots=True)
class AgentView:
    agent_id: AgentId
    tenant_id: TenantId
    name: str
    # Where the engine is reached: the tunnel address, or 127.0.0.1 in direct mode.
    host: str
    engine_port: int
    liveness: Liveness
    engine: EngineView | None
    simulated: bool
    # Of its worst card; on a critical one no pool call is placed.
    health: Health = Health.UNKNOWN
    # What is wanted of it, in force here before the agent has heard of it.
    drained: bool = False
    pool_paused: bool = False
    # Its owner's limit that forbids pool work now.
    pool_closed: Closed | None = None


@dataclass(frozen=True, slots=True)
class FleetView:
    """Every agent that is enrolled and not revoked."""

    by_id: Mapping[AgentId, AgentView] = field(default_factory=dict)
    by_tenant: Mapping[TenantId, tuple[AgentView, ...]] = field(default_factory=dict)
