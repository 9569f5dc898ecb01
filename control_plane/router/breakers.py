"""Breakers: an agent that fails again and again is left alone for a while. Times are monotonic seconds."""

from collections.abc import Iterator
from dataclasses import dataclass

from control_plane.identifiers import AgentId

# Failures in a row that open a breaker.
FAILURES_TO_OPEN = 3
# How long it stays open at first; each further failure doubles that.
FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 60.0


@dataclass(slots=True)
class _Failing:
    failures: int
    open_until_s: float


class Breakers:
    """Of one process. Only what is the agent's fault counts: not a client's error, not backpressure."""

    def __init__(self) -> None:
        self._failing: dict[AgentId, _Failing] = {}

    def failed(self, agent_id: AgentId, now_s: float) -> None:
        state = self._failing.setdefault(agent_id, _Failing(0, now_s))
        state.failures += 1
        beyond = state.failures - FAILURES_TO_OPEN
        if beyond >= 0:
            # Bounded before the power: failures may go on for days.
            pause_s = min(FIRST_PAUSE_S * 2 ** min(beyond, 10), LONGEST_PAUSE_S)
            state.open_until_s = now_s + pause_s

    def served(self, agent_id: AgentId) -> None:
        self._failing.pop(agent_id, None)

    def open_at(self, now_s: float) -> frozenset[AgentId]:
        """Agents to leave alone now. After its pause one is tried again; another failure opens it anew."""
        if not self._failing:
            return frozenset()
        return frozenset(self._open(now_s))

    def _open(self, now_s: float) -> Iterator[AgentId]:
        for agent_id, state in self._failing.items():
            if state.failures >= FAILURES_TO_OPEN and now_s < state.open_until_s:
                yield agent_id

    def forget(self, agent_id: AgentId) -> None:
        """It left the fleet, or is back with a good probe."""
        self._failing.pop(agent_id, None)
