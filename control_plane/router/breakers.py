"""Breakers: a place that fails again and again is left alone for a while. Times are monotonic seconds.

A place is an agent, by its id, or a vendor, by its name.
"""

from collections.abc import Iterator
from dataclasses import dataclass

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
    """Of one process. Only what is the place's fault counts: not a client's error, not backpressure."""

    def __init__(self) -> None:
        self._failing: dict[str, _Failing] = {}

    def failed(self, place: str, now_s: float) -> None:
        state = self._failing.setdefault(place, _Failing(0, now_s))
        state.failures += 1
        beyond = state.failures - FAILURES_TO_OPEN
        if beyond >= 0:
            # Bounded before the power: failures may go on for days.
            pause_s = min(FIRST_PAUSE_S * 2 ** min(beyond, 10), LONGEST_PAUSE_S)
            state.open_until_s = now_s + pause_s

    def served(self, place: str) -> None:
        self._failing.pop(place, None)

    def open_at(self, now_s: float) -> frozenset[str]:
        """Places to leave alone now. After its pause one is tried again; another failure opens it anew."""
        if not self._failing:
            return frozenset()
        return frozenset(self._open(now_s))

    def _open(self, now_s: float) -> Iterator[str]:
        for place, state in self._failing.items():
            if state.failures >= FAILURES_TO_OPEN and now_s < state.open_until_s:
                yield place

    def forget(self, place: str) -> None:
        """It left the fleet, or is back with a good probe."""
        self._failing.pop(place, None)
