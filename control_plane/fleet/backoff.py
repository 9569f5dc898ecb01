"""How long to wait before trying again: doubling, capped, with jitter."""

import random


class Backoff:
    """Times are seconds. Half of each wait is certain, so that jitter never makes it a busy loop."""

    def __init__(self, first_s: float, cap_s: float) -> None:
        self._first_s = first_s
        self._cap_s = cap_s
        self._ceiling_s = first_s

    def next_s(self) -> float:
        ceiling_s, self._ceiling_s = self._ceiling_s, min(self._cap_s, self._ceiling_s * 2)
        return ceiling_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing

    def reset(self) -> None:
        self._ceiling_s = self._first_s
