"""How many failed sign-ins there may be, by address and by account. Pure: the time comes in."""

from collections import OrderedDict
from dataclasses import dataclass, field

WINDOW_S = 900.0
MOST_PER_ACCOUNT = 10
MOST_PER_ADDRESS = 40
# Beyond it the oldest are forgotten: who sends names without end must not fill the memory.
MAX_KEYS = 20_000


@dataclass(slots=True)
class FailureLimit:
    """At most `most` failures of a key within WINDOW_S, counted from the first."""

    most: int
    _failures: OrderedDict[str, tuple[float, int]] = field(default_factory=OrderedDict)

    def is_reached(self, key: str, now_s: float) -> bool:
        since_s, count = self._failures.get(key, (now_s, 0))
        return now_s - since_s < WINDOW_S and count >= self.most

    def count(self, key: str, now_s: float) -> None:
        since_s, count = self._failures.pop(key, (now_s, 0))
        if now_s - since_s >= WINDOW_S:
            since_s, count = now_s, 0
        self._failures[key] = since_s, count + 1
        while len(self._failures) > MAX_KEYS:
            self._failures.popitem(last=False)

    def give_back(self, key: str) -> None:
        """One that was counted before it was known to be good."""
        since_s, count = self._failures.get(key, (0.0, 0))
        if count > 1:
            self._failures[key] = since_s, count - 1
        else:
            self._failures.pop(key, None)
