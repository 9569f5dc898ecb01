"""Falling through a plan: which candidate is tried next after one has failed. Pure."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

# Attempts of one call, the first one included.
MAX_ATTEMPTS = 3

C = TypeVar("C")


class FallThrough(Generic[C]):
    """Hands out the candidates of one call in order, at most MAX_ATTEMPTS times. Ask only while the client
    has been given no content: a second answer must never be glued to the beginning of a first."""

    def __init__(self, candidates: Sequence[C], max_attempts: int = MAX_ATTEMPTS) -> None:
        self._candidates = candidates
        self._max_attempts = max_attempts
        self._next = 0
        self._again_used = False
        self.attempts = 0

    def next(self) -> C | None:
        """The candidate of the next attempt, counted as tried; None: there is none."""
        if self.attempts >= self._max_attempts or self._next >= len(self._candidates):
            return None
        candidate = self._candidates[self._next]
        self._next += 1
        self.attempts += 1
        return candidate

    def skip(self, unwanted: Callable[[C], bool]) -> None:
        """Takes out candidates that are still to come, for what was learnt from one before them."""
        rest = [each for each in self._candidates[self._next :] if not unwanted(each)]
        self._candidates = [*self._candidates[: self._next], *rest]

    def untried(self) -> None:
        """The last candidate was not sent anything: it counts as no attempt."""
        self.attempts -= 1

    def try_same_again(self) -> None:
        """Offers the last candidate once more: for a failure that says nothing about it, such as a kept
        connection that turned out to be closed. At most once a call."""
        if self._next and not self._again_used:
            self._again_used = True
            self._next -= 1


class RetryBudget:
    """Bounds what retries add to the load of a fleet that is failing: a part of all calls, and a few more.

    One per process.
    """

    def __init__(self, *, part_of_calls: float = 0.2, most: float = 50.0) -> None:
        self._part = part_of_calls
        self._most = most
        self._left = most

    def call(self) -> None:
        """A call came: it pays in its part."""
        self._left = min(self._most, self._left + self._part)

    def spend(self) -> bool:
        """Whether one more retry may be made now; it is paid for then."""
        if self._left < 1:
            return False
        self._left -= 1
        return True
