"""From what an agent last said to how the router sees it. Pure."""

from daalu_wire.v1 import agent_pb2

from control_plane.fleet.facts import AgentFacts
from control_plane.fleet.health_rules import Health
from control_plane.fleet.pool_limits import Closed
from control_plane.fleet.view import AgentView, EngineView, Liveness

# An agent's own words are shown to operators and sit in memory for each agent.
MAX_DETAIL_CHARACTERS = 500


def agent_view(
    facts: AgentFacts,
    liveness: Liveness,
    sample: agent_pb2.TelemetrySample | None,
    health: Health = Health.UNKNOWN,
    *,
    drained: bool = False,
    pool_closed: Closed | None = None,
) -> AgentView:
    return AgentView(
        agent_id=facts.agent_id,
        tenant_id=facts.tenant_id,
        name=facts.name,
        host=facts.host,
        engine_port=facts.engine_port,
        liveness=liveness,
        engine=_engine_view(sample.engine) if sample is not None else None,
        simulated=sample is not None and _simulated(sample),
        health=health,
        drained=drained or facts.drained,
        pool_paused=facts.pool_paused,
        pool_closed=pool_closed,
    )


def engine_is_expected(engine: agent_pb2.EngineSample) -> bool:
    """Whether an HTTP request to it should be answered."""
    return engine.phase in (agent_pb2.ENGINE_PHASE_READY, agent_pb2.ENGINE_PHASE_DRAINING)


def _engine_view(engine: agent_pb2.EngineSample) -> EngineView | None:
    if not engine.model.model_id:
        return None
    return EngineView(
        model_id=engine.model.model_id,
        served_name=engine.served_name,
        ready=engine.phase == agent_pb2.ENGINE_PHASE_READY,
        draining=engine.phase == agent_pb2.ENGINE_PHASE_DRAINING,
        context_tokens=engine.context_tokens,
        running_calls=engine.running_calls,
        waiting_calls=engine.waiting_calls,
        max_running_calls=engine.max_running_calls,
        detail=engine.detail[:MAX_DETAIL_CHARACTERS],
    )


def _simulated(sample: agent_pb2.TelemetrySample) -> bool:
    return sample.card_system.state == agent_pb2.CARD_SYSTEM_STATE_SIMULATED or any(
        card.simulated for card in sample.cards
    )
