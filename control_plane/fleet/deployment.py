"""What to do so that an agent serves the model that is wanted of it. Pure; times are monotonic seconds."""

from collections.abc import Collection
from dataclasses import dataclass

from daalu_wire.v1 import agent_pb2

from control_plane.fleet.facts import Desired

RETRY_FIRST_S = 2.0
RETRY_CAP_S = 60.0
# How long a model that is to go waits for its calls unless the configuration says otherwise: as long as any
# call may take.
DRAIN_LIMIT_S = 7_200.0

_BUSY = frozenset(
    {
        agent_pb2.ENGINE_PHASE_STARTING,
        agent_pb2.ENGINE_PHASE_LOADING,
        agent_pb2.ENGINE_PHASE_READY,
        agent_pb2.ENGINE_PHASE_DRAINING,
        # The agent restarts its engine by itself.
        agent_pb2.ENGINE_PHASE_BACKING_OFF,
    }
)


@dataclass(frozen=True, slots=True)
class Reference:
    """A catalogue entry as both sides must have it."""

    model_id: str
    digest: str


@dataclass(frozen=True, slots=True)
class Order:
    """One wish of one operator, to one start of one daemon: a failure is final within it, and only there."""

    desired: Desired
    reference: Reference | None
    daemon_started_unix_ms: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of asking the agent so far."""

    order: Order
    times: int = 0
    not_before_s: float = 0.0
    # In words; set when asking again would be of no use.
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Deploy:
    reference: Reference


@dataclass(frozen=True, slots=True)
class Stop:
    pass


@dataclass(frozen=True, slots=True)
class Nothing:
    """Wait. `problem` says why the wanted model cannot be had, where it cannot."""

    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Empty:
    """Take no new call, and look again: the engine goes once the calls on it have ended."""

    calls: int


Step = Deploy | Stop | Nothing | Empty


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a decision rests on."""

    order: Order
    engine: agent_pb2.EngineSample
    agent_catalogue: Collection[Reference]
    asked: Asked | None
    # Since when the engine takes no call because another model is wanted; None: it does.
    emptying_since_s: float | None = None
    drain_limit_s: float = DRAIN_LIMIT_S


def decide(situation: Situation, now_s: float) -> Step:
    order, engine = situation.order, situation.engine
    asked = situation.asked if situation.asked and situation.asked.order == order else None
    if asked is not None and now_s < asked.not_before_s:
        return Nothing(asked.failure)
    if order.desired.model_id is None:
        return _once_empty(Stop(), situation, now_s) if _has_model(engine) else Nothing()
    problem = _disagreement(order, situation.agent_catalogue)
    if problem is not None:
        return Nothing(problem)
    if order.reference is None or engine.phase == agent_pb2.ENGINE_PHASE_STOPPING:
        return Nothing()
    serves = Reference(engine.model.model_id, engine.model.digest) == order.reference
    if serves and engine.phase in _BUSY:
        return Nothing()
    if asked is not None and asked.failure is not None:
        return Nothing(asked.failure)
    if asked is not None and serves and engine.phase == agent_pb2.ENGINE_PHASE_FAILED:
        return Nothing(engine.detail or "the engine failed; the agent's engine.log says why")
    return _once_empty(Deploy(order.reference), situation, now_s)


def calls_on(engine: agent_pb2.EngineSample) -> int:
    """Calls that would be lost with the engine; of an agent that does not count them itself, its engine's."""
    return max(engine.open_calls, engine.running_calls + engine.waiting_calls)


def is_serving(engine: agent_pb2.EngineSample) -> bool:
    """Whether there may be calls on it that end by themselves."""
    return engine.phase in (agent_pb2.ENGINE_PHASE_READY, agent_pb2.ENGINE_PHASE_DRAINING)


def progress(situation: Situation) -> str:
    """How far the change is that calls are waited for, in words."""
    calls, next_model = calls_on(situation.engine), situation.order.desired.model_id
    then = f"{next_model} is deployed" if next_model else "the engine is stopped"
    return f"draining, {calls} {'call' if calls == 1 else 'calls'} running; then {then}"


def _once_empty(step: Deploy | Stop, situation: Situation, now_s: float) -> Step:
    """First no new call, as the agent itself confirms, then none at all; or the limit."""
    engine, since_s = situation.engine, situation.emptying_since_s
    if not is_serving(engine) or (since_s is not None and now_s - since_s >= situation.drain_limit_s):
        return step
    calls = calls_on(engine)
    if engine.phase == agent_pb2.ENGINE_PHASE_DRAINING and not calls:
        return step
    return Empty(calls)


def after_asking(order: Order, asked: Asked | None, now_s: float) -> Asked:
    """Remembers that the agent is asked now; the wait before the next time doubles up to RETRY_CAP_S."""
    times = asked.times + 1 if asked and asked.order == order else 1
    wait_s = min(RETRY_CAP_S, RETRY_FIRST_S * 2.0 ** min(times - 1, 10))
    return Asked(order, times, now_s + wait_s)


def _has_model(engine: agent_pb2.EngineSample) -> bool:
    idle = (
        agent_pb2.ENGINE_PHASE_UNSPECIFIED,
        agent_pb2.ENGINE_PHASE_STOPPED,
        agent_pb2.ENGINE_PHASE_STOPPING,
    )
    return engine.phase not in idle


def _disagreement(order: Order, agent_catalogue: Collection[Reference]) -> str | None:
    wanted, ours = order.desired.model_id, order.reference
    if ours is None:
        return f"{wanted} is not in the control plane's catalogue: add its entry and restart, or want another"
    theirs = next((each for each in agent_catalogue if each.model_id == ours.model_id), None)
    if theirs is None:
        return f"the agent does not know {wanted}: put its entry into the agent's catalogue directory"
    if theirs.digest != ours.digest:
        return (
            f"the agent's entry for {wanted} differs from the control plane's"
            f" ({theirs.digest[:12]} there, {ours.digest[:12]} here): make the two files equal"
        )
    return None
