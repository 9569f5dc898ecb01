"""What a load test does, its caps, and when a card may not be put under load. Pure."""

from dataclasses import dataclass

from control_plane.access import Invalid
from control_plane.fleet.health_rules import Health
from control_plane.fleet.view import AgentView, EngineView, Liveness

MOST_CONCURRENCY = 256
MOST_STEPS = 12
MOST_REQUESTS = 4_000
MOST_TOKENS = 8_192
MOST_DURATION_S = 3_600


@dataclass(frozen=True, slots=True)
class Sweep:
    concurrencies: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    input_tokens: int = 256
    output_tokens: int = 64
    # Requests of a step: this many for each call at once.
    requests_per_call: int = 4
    # Of all steps together, the client's own start included.
    duration_s: int = 900

    def requests(self, concurrency: int) -> int:
        return concurrency * self.requests_per_call

    def check(self) -> None:
        """Raises Invalid beyond the caps."""
        steps = self.concurrencies
        if not 0 < len(steps) <= MOST_STEPS or list(steps) != sorted(set(steps)):
            raise Invalid(f"a sweep has 1 to {MOST_STEPS} concurrencies, each larger than the one before")
        if steps[0] < 1 or steps[-1] > MOST_CONCURRENCY:
            raise Invalid(f"concurrencies go from 1 to {MOST_CONCURRENCY}")
        for name, tokens in (("input", self.input_tokens), ("output", self.output_tokens)):
            if not 1 <= tokens <= MOST_TOKENS:
                raise Invalid(f"{name} tokens go from 1 to {MOST_TOKENS}")
        if self.requests_per_call < 1 or sum(map(self.requests, steps)) > MOST_REQUESTS:
            raise Invalid(f"a load test makes 1 to {MOST_REQUESTS} requests: ask for fewer or smaller steps")
        if not 1 <= self.duration_s <= MOST_DURATION_S:
            raise Invalid(f"a load test lasts 1 to {MOST_DURATION_S} s")


def loadable_engine(agent: AgentView | None, sweep: Sweep) -> EngineView:
    """Of a card that may be put under load now. Raises Invalid, which says what to do."""
    if agent is None or agent.liveness is not Liveness.LIVE:
        raise Invalid("the agent is not in reach: daalu agents show says why")
    if agent.health is Health.CRITICAL:
        raise Invalid("a card of it is in a critical state: daalu agents show says which and what to do")
    engine = agent.engine
    if engine is None or not engine.ready:
        raise Invalid("it has no engine that is ready: deploy a model first, and wait until it is loaded")
    if engine.draining:
        raise Invalid("its engine is being drained: wait for that to end")
    calls = engine.running_calls + engine.waiting_calls
    if calls:
        raise Invalid(f"{calls} calls are on the card, pool work or its owner's: wait until it is idle")
    needed = sweep.input_tokens + sweep.output_tokens
    if needed > engine.context_tokens:
        raise Invalid(f"input and output are {needed} tokens, its context has {engine.context_tokens}")
    return engine
