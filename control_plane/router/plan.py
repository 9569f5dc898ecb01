"""The plan of a call: who may serve it, in order, and why nobody else does. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeAlias, TypeVar, overload

from control_plane.fleet import AgentView, EngineView, FleetView, Health, Liveness
from control_plane.identifiers import AgentId
from control_plane.router.facts import CallFacts, CodingCall, GeneralCall, TenantFacts
from control_plane.store.tables import Tier

# A card whose queue is this many times longer than what it works on at once gets no more calls …
QUEUE_PER_RUNNING = 2
# … but never fewer than this many waiting are accepted.
QUEUE_LEAST = 8


class Reason(StrEnum):
    """Why a card was left out. Codes are stable: they are stored and shown."""

    NO_ENGINE = "no_engine"
    OTHER_MODEL = "other_model"
    OUT_OF_REACH = "out_of_reach"
    NOT_READY = "not_ready"
    DRAINING = "draining"
    CONTEXT_TOO_SMALL = "context_too_small"
    QUEUE_FULL = "queue_full"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class OwnCard:
    """A card of the calling tenant: no price, no hold."""

    agent: AgentView
    # What the engine calls the model.
    served_name: str
    # Calls on it per call that it can work on at once; 1.0 is a full card with no queue.
    load: float

    @property
    def tier(self) -> Tier:
        return Tier.OWN


# What a coding call may be served by. Operator-run cards of a hosted pool join here; third-party cards and
# vendors join AnyCandidate alone, so that no code that handles a coding call's plan can be given one.
PerimeterCandidate: TypeAlias = OwnCard
AnyCandidate: TypeAlias = PerimeterCandidate

C_co = TypeVar("C_co", covariant=True)


@dataclass(frozen=True, slots=True)
class LeftOut:
    tier: Tier
    agent_id: AgentId
    agent_name: str
    reason: Reason
    # For people: what is in the way.
    words: str


@dataclass(frozen=True, slots=True)
class Plan(Generic[C_co]):
    """Best candidate first."""

    candidates: tuple[C_co, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def model_is_known(self) -> bool:
        """Whether any card that the tenant may use serves the model, able to take the call or not."""
        unrelated = (Reason.NO_ENGINE, Reason.OTHER_MODEL)
        return bool(self.candidates) or any(left.reason not in unrelated for left in self.left_out)

    @property
    def only_context_is_missing(self) -> bool:
        """Whether every card that serves the model is too small for this call."""
        reasons = {left.reason for left in self.left_out} - {Reason.NO_ENGINE, Reason.OTHER_MODEL}
        return not self.candidates and reasons == {Reason.CONTEXT_TOO_SMALL}


PerimeterPlan: TypeAlias = Plan[PerimeterCandidate]
OpenPlan: TypeAlias = Plan[AnyCandidate]

_NOTHING_IN_FLIGHT: Mapping[AgentId, int] = {}


@overload
def plan(
    call: CodingCall, tenant: TenantFacts, fleet: FleetView, in_flight: Mapping[AgentId, int] = ...
) -> PerimeterPlan: ...


@overload
def plan(
    call: GeneralCall, tenant: TenantFacts, fleet: FleetView, in_flight: Mapping[AgentId, int] = ...
) -> OpenPlan: ...


def plan(
    call: CallFacts,
    tenant: TenantFacts,
    fleet: FleetView,
    in_flight: Mapping[AgentId, int] = _NOTHING_IN_FLIGHT,
) -> OpenPlan:
    """Plans over the tenant's own agents; the size of the fleet beside them costs nothing.

    `in_flight` counts the calls that this process has sent to each agent and not seen end: samples are
    seconds old, and a burst would all go to the card that was idle in the last one.
    """
    candidates: list[OwnCard] = []
    left_out: list[LeftOut] = []
    for agent in fleet.by_tenant.get(tenant.tenant_id, ()):
        sent = in_flight.get(agent.agent_id, 0)
        obstacle = _obstacle(call, agent, sent)
        if obstacle is not None:
            left_out.append(LeftOut(Tier.OWN, agent.agent_id, agent.name, *obstacle))
        elif agent.engine is not None:
            load = _on_it(agent.engine, sent) / max(agent.engine.max_running_calls, 1)
            candidates.append(OwnCard(agent, agent.engine.served_name, load))
    candidates.sort(key=_preference)
    return Plan(tuple(candidates), tuple(left_out))


def serves(engine: EngineView, model: str) -> bool:
    """Whether `model`, a served name or a catalogue id, is what this engine runs."""
    return model in (engine.served_name, engine.model_id)


def is_reachable(agent: AgentView) -> bool:
    """Whether calls may be sent to this agent at all: heard of lately, its engine ready for new ones."""
    return (
        agent.liveness in (Liveness.LIVE, Liveness.SUSPECT)
        and agent.engine is not None
        and agent.engine.ready
        and not agent.engine.draining
    )


def unhealthy(agent: AgentView) -> tuple[Reason, str] | None:
    """Why no pool call may be placed on this agent for its cards' sake; None: nothing of that kind.

    Its owner's own calls are still served there: whether they are is the owner's to decide.
    """
    if agent.health is not Health.CRITICAL:
        return None
    return Reason.UNHEALTHY, "a card of it is in a critical state; `daalu agents show` says which and why"


def _preference(candidate: OwnCard) -> tuple[bool, float, str]:
    # A suspect agent is still good, but only if no live one is left.
    return candidate.agent.liveness is not Liveness.LIVE, candidate.load, candidate.agent.agent_id


def _on_it(engine: EngineView, sent: int) -> int:
    return max(engine.running_calls + engine.waiting_calls, sent)


def _obstacle(call: CallFacts, agent: AgentView, sent: int) -> tuple[Reason, str] | None:
    engine = agent.engine
    if engine is None:
        return Reason.NO_ENGINE, "it serves no model"
    if not serves(engine, call.model):
        return Reason.OTHER_MODEL, f"it serves {engine.served_name}"
    if agent.liveness is Liveness.NEVER:
        return Reason.OUT_OF_REACH, "it has not been heard of since the control plane started"
    if agent.liveness is Liveness.OUT:
        return Reason.OUT_OF_REACH, "it has not been heard of for 15 s or more"
    if engine.draining:
        return Reason.DRAINING, "it is being drained: calls in flight end, new ones are not taken"
    if not engine.ready:
        return Reason.NOT_READY, engine.detail or "its engine is not ready"
    needed = call.prompt_tokens_at_least + (call.max_tokens or 1)
    if needed > engine.context_tokens:
        return (
            Reason.CONTEXT_TOO_SMALL,
            f"at least {needed} tokens are needed, its context has {engine.context_tokens}",
        )
    waiting = max(engine.waiting_calls, sent - engine.max_running_calls)
    limit = max(QUEUE_LEAST, QUEUE_PER_RUNNING * engine.max_running_calls)
    if waiting >= limit:
        return Reason.QUEUE_FULL, f"{waiting} calls wait for it already, its limit is {limit}"
    return None
