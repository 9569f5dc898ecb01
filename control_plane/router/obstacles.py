"""What is in the way of a call at one card. Pure."""

from control_plane.fleet import AgentView, EngineView, Health, LimitKind, Liveness
from control_plane.fleet.load_test import MeasuredLimit
from control_plane.router.candidates import Reason
from control_plane.router.facts import CallFacts, World

# A card whose queue is this many times longer than what it works on at once gets no more calls …
QUEUE_PER_RUNNING = 2
# … but never fewer than this many waiting are accepted.
QUEUE_LEAST = 8

Obstacle = tuple[Reason, str]


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
        and not agent.drained
    )


def on_it(engine: EngineView, sent: int) -> int:
    """Calls on an engine now; `sent` by this process."""
    return max(engine.running_calls + engine.waiting_calls, sent)


def own_obstacle(call: CallFacts, agent: AgentView, world: World) -> Obstacle | None:
    """For a call of the card's own tenant. Its health is the owner's to judge."""
    obstacle = _obstacle(call, agent, world)
    if obstacle is not None or agent.engine is None or world.measuring:
        return obstacle
    engine, sent = agent.engine, world.in_flight.get(agent.agent_id, 0)
    waiting = max(engine.waiting_calls, sent - engine.max_running_calls)
    limit = max(QUEUE_LEAST, QUEUE_PER_RUNNING * engine.max_running_calls)
    if waiting >= limit:
        return Reason.QUEUE_FULL, f"{waiting} calls wait for it already, its limit is {limit}"
    return _past_the_knee(engine, on_it(engine, sent), world.measured.get(agent.agent_id))


def _past_the_knee(engine: EngineView, calls: int, measured: MeasuredLimit | None) -> Obstacle | None:
    """What a load test measured holds for the model that it was made with."""
    if measured is None or measured.model_id != engine.model_id:
        return None
    knee = measured.concurrency
    most = knee + max(QUEUE_LEAST, knee)
    if calls < most:
        return None
    words = (
        f"{calls} calls are on it: load test {measured.load_test_id} measured its knee at {knee} at once, and"
        f" {most - knee} more may wait"
    )
    return Reason.QUEUE_FULL, words


def pool_obstacle(call: CallFacts, agent: AgentView, world: World, *, operator_run: bool) -> Obstacle | None:
    """For a call of another tenant's: spare capacity only, so none that waits and none while others wait."""
    obstacle = _obstacle(call, agent, world) or unhealthy(agent)
    if obstacle is not None or agent.engine is None:
        return obstacle
    engine = agent.engine
    if not operator_run and engine.model_id not in world.countable:
        return Reason.UNCOUNTABLE, "its tokens cannot be counted here: the model's tokenizer is missing"
    if not operator_run and not call.countable:
        return Reason.UNCOUNTABLE, "the tokens of a call with such fields cannot be counted here"
    running = on_it(engine, world.in_flight.get(agent.agent_id, 0))
    if engine.waiting_calls or running >= engine.max_running_calls:
        return (
            Reason.NO_ROOM,
            f"no room: {running} calls on it, it works on {engine.max_running_calls}",
        )
    return None


def unhealthy(agent: AgentView) -> Obstacle | None:
    """Why no pool call may be placed on this agent, for its owner's wish or its cards' sake; None: neither.

    Its owner's own calls are still served there: whether they are is the owner's to decide.
    """
    if agent.pool_paused:
        return (
            Reason.POOL_PAUSED,
            "pool work on it is paused; `daalu agents resume-pool` ends that",
        )
    if agent.pool_closed is not None:
        hours = agent.pool_closed.kind is LimitKind.HOURS
        return Reason.OUTSIDE_POOL_HOURS if hours else Reason.OVER_POOL_LIMIT, agent.pool_closed.words
    if agent.health is not Health.CRITICAL:
        return None
    return Reason.UNHEALTHY, "a card of it is in a critical state; `daalu agents show` says which and why"


def _obstacle(call: CallFacts, agent: AgentView, world: World) -> Obstacle | None:
    engine = agent.engine
    if engine is None:
        return Reason.NO_ENGINE, "it serves no model"
    if not serves(engine, call.model):
        return Reason.OTHER_MODEL, f"it serves {engine.served_name}"
    if agent.liveness is Liveness.NEVER:
        return Reason.OUT_OF_REACH, "it has not been heard of since the control plane started"
    if agent.liveness is Liveness.OUT:
        return Reason.OUT_OF_REACH, "it has not been heard of for 15 s or more"
    if engine.draining or agent.drained:
        return Reason.DRAINING, "it is being drained: calls in flight end, new ones are not taken"
    if not engine.ready:
        return Reason.NOT_READY, engine.detail or "its engine is not ready"
    if not call.text_only:
        return Reason.NOT_TEXT, f"{engine.served_name} takes text only"
    needed = call.prompt_tokens_at_least + (call.max_tokens or 1)
    if needed > engine.context_tokens:
        return (
            Reason.CONTEXT_TOO_SMALL,
            f"at least {needed} tokens are needed, its context has {engine.context_tokens}",
        )
    if agent.agent_id in world.broken:
        return Reason.BREAKER_OPEN, "it failed several times in a row just now, and is left alone for a while"
    return None
