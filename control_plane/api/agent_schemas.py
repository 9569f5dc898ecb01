"""An agent as the REST interface shows it: its row, and what the fleet knows of it now."""

from typing import Any, Self

from daalu_wire.v1 import agent_pb2

from control_plane.api.health import CardFindingResponse, findings
from control_plane.api.readings import CardResponse, CardSystemResponse, ReadingResponse, cards
from control_plane.api.schemas import Response
from control_plane.fleet import AgentStatus, Health
from control_plane.fleet.telemetry import Reliability
from control_plane.store.tables import Agent


class EngineResponse(Response):
    """From the agent's last sample. `detail`: what it is doing, or why it cannot serve."""

    phase: str
    model_id: str
    served_name: str
    context_tokens: int
    running_calls: int
    waiting_calls: int
    max_running_calls: int
    kv_cache_percent: ReadingResponse
    progress_percent: int
    restarts_count: int
    detail: str

    @classmethod
    def of(cls, engine: agent_pb2.EngineSample) -> Self:
        return cls(
            phase=agent_pb2.EnginePhase.Name(engine.phase).removeprefix("ENGINE_PHASE_").lower(),
            model_id=engine.model.model_id,
            served_name=engine.served_name,
            context_tokens=engine.context_tokens,
            running_calls=engine.running_calls,
            waiting_calls=engine.waiting_calls,
            max_running_calls=engine.max_running_calls,
            kv_cache_percent=ReadingResponse.of(engine.kv_cache_percent, "percent"),
            progress_percent=engine.progress_percent,
            restarts_count=engine.restarts_count,
            detail=engine.detail,
        )


class HostResponse(Response):
    """From the agent's inventory."""

    host_name: str
    operating_system: str
    kernel_release: str
    cpu_count: int
    memory_total_bytes: int

    @classmethod
    def of(cls, inventory: agent_pb2.GetInventoryResponse) -> Self:
        return cls(
            host_name=inventory.host_name,
            operating_system=inventory.operating_system,
            kernel_release=inventory.kernel_release,
            cpu_count=inventory.cpu_count,
            memory_total_bytes=inventory.memory_total_bytes,
        )


class AgentSummary(Response):
    id: str
    name: str
    tenant_id: str
    tenant_name: str
    connection: str
    # None in direct mode.
    tunnel_address: str | None
    agent_version: str
    created_unix_ms: int
    revoked_unix_ms: int | None
    # never, live, suspect or out; revoked where it was.
    liveness: str
    # When its last sample came; None: not since the control plane started.
    heard_unix_ms: int | None
    # The agent's clock minus the control plane's; None: not known.
    clock_offset_ms: int | None
    simulated: bool
    # Of its worst card: unknown, good, warning or critical.
    health: str
    engine: EngineResponse | None
    desired_model_id: str | None
    # How far a change of its model is that running calls are waited for; None: there is none.
    progress: str | None
    # Wanted of it: no new call at all; no new call of a pool.
    drained: bool
    pool_paused: bool
    # Its owner's limit that forbids pool work now, in words; None: none does.
    pool_closed: str | None
    # What is wrong, in words, by the part of the work that it stops.
    problems: dict[str, str]

    @classmethod
    def of_row(cls, row: Agent, tenant_name: str, status: AgentStatus | None) -> Self:
        return cls(**_summary(row, tenant_name, status))


class AgentReadings(AgentSummary):
    """With what its cards last reported, of a silent agent too: `heard_unix_ms` says when that was."""

    cards: list[CardResponse]

    @classmethod
    def of_row(cls, row: Agent, tenant_name: str, status: AgentStatus | None) -> Self:
        shown = cards(status.inventory, status.sample, status.health) if status else []
        return cls(**_summary(row, tenant_name, status), cards=shown)


class ReliabilityResponse(Response):
    """Over the 30 days up to `to_unix_ms`, as far as the control plane ran."""

    from_unix_ms: int
    to_unix_ms: int
    # How long it was watched, and of that how long it was there.
    observed_ms: int
    up_ms: int
    # 0 to 100; None: it was not watched.
    uptime_percent: float | None
    # How often it fell silent for 15 s.
    outages_count: int
    # How often its cards became critical, and how often no worse than a warning.
    faults_count: int
    warnings_count: int

    @classmethod
    def of(cls, found: Reliability) -> Self:
        return cls(
            from_unix_ms=found.span.begin_ms,
            to_unix_ms=found.span.end_ms,
            observed_ms=found.observed_ms,
            up_ms=found.up_ms,
            uptime_percent=None if found.uptime is None else 100 * found.uptime,
            outages_count=found.outages_count,
            faults_count=found.faults_count,
            warnings_count=found.warnings_count,
        )


class AgentDetail(AgentSummary):
    certificate_expires_unix_ms: int
    host: HostResponse | None
    card_system: CardSystemResponse | None
    cards: list[CardResponse]
    # What is wrong with its cards, worst first; `health` is the worst of them.
    findings: list[CardFindingResponse]
    # None: its history cannot be read now.
    reliability: ReliabilityResponse | None

    @classmethod
    def of_row(
        cls,
        row: Agent,
        tenant_name: str,
        status: AgentStatus | None,
        reliability: Reliability | None = None,
    ) -> Self:
        sample = status.sample if status else None
        inventory = status.inventory if status else None
        seen = sample or inventory
        health = status.health if status else None
        return cls(
            **_summary(row, tenant_name, status),
            certificate_expires_unix_ms=row.certificate_expires_unix_ms,
            host=HostResponse.of(inventory) if inventory else None,
            card_system=CardSystemResponse.of(seen.card_system) if seen else None,
            cards=cards(inventory, sample, health),
            findings=findings(health),
            reliability=ReliabilityResponse.of(reliability) if reliability else None,
        )


def _summary(row: Agent, tenant_name: str, status: AgentStatus | None) -> dict[str, Any]:
    sample = status.sample if status else None
    inventory = status.inventory if status else None
    engine = EngineResponse.of(sample.engine) if sample and sample.HasField("engine") else None
    return {
        "id": row.id,
        "name": row.name,
        "tenant_id": row.tenant_id,
        "tenant_name": tenant_name,
        "connection": row.connection,
        "tunnel_address": row.tunnel_address,
        "agent_version": inventory.agent_version if inventory else row.agent_version,
        "created_unix_ms": row.created_unix_ms,
        "revoked_unix_ms": row.revoked_unix_ms,
        "liveness": "revoked" if row.revoked_unix_ms else (status.liveness if status else "never"),
        "heard_unix_ms": status.heard_unix_ms if status else None,
        "clock_offset_ms": status.clock_offset_ms if status else None,
        "simulated": _simulated(sample, inventory),
        "health": status.health.health if status else Health.UNKNOWN,
        "engine": engine,
        "desired_model_id": status.desired_model_id if status else None,
        "progress": status.progress if status else None,
        "drained": row.drained,
        "pool_paused": row.pool_paused,
        "pool_closed": status.pool_closed.words if status and status.pool_closed else None,
        "problems": dict(status.problems) if status else {},
    }


def _simulated(
    sample: agent_pb2.TelemetrySample | None, inventory: agent_pb2.GetInventoryResponse | None
) -> bool:
    systems = [seen.card_system.state for seen in (sample, inventory) if seen]
    seen_cards = [card.simulated for seen in (sample, inventory) if seen for card in seen.cards]
    return agent_pb2.CARD_SYSTEM_STATE_SIMULATED in systems or any(seen_cards)
