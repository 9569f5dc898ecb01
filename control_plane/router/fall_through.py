"""Falling through a plan: which candidate is tried next after one has failed. Pure."""

from collections.abc import Sequence
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

    def try_same_again(self) -> None:
        """Offers the last candidate once more: for a failure that says nothing about it, such as a kept
        connection that turned out to be closed. At most once a call."""
        if self._next and not self._again_used:
            self._again_used = True
            self._next -= 1
