"""How long what is kept, and where in the file it lies. Pure.

Chunks are ordered by tier, then by time, then by series: what is written together and what is pruned together
lies together, whatever the number of agents; one series' chunk is found by its number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

_SERIES_BITS = 32
_SLOT_BITS = 27
_LAST_SLOT = (1 << _SLOT_BITS) - 1


@dataclass(frozen=True, slots=True)
class Tier:
    """`span_ms` is the time that one chunk covers, `flush_after_ms` how far the file may be behind."""

    number: int
    # The time that a row stands for; of raw samples, how often they are expected.
    step_ms: int
    is_raw: bool
    span_ms: int
    keep_ms: int
    flush_after_ms: int

    def slot(self, unix_ms: int) -> int:
        return max(0, min(_LAST_SLOT, unix_ms // self.span_ms))

    def offset(self, unix_ms: int) -> int:
        """Where in its slot: milliseconds for raw samples, else the number of the step."""
        within_ms = unix_ms - self.slot(unix_ms) * self.span_ms
        return within_ms if self.is_raw else within_ms // self.step_ms

    def moment_ms(self, slot: int, offset: float) -> int:
        """Of a sample, or of the beginning of a step."""
        return slot * self.span_ms + int(offset) * (1 if self.is_raw else self.step_ms)

    def chunk_id(self, slot: int, series: int) -> int:
        return (self.number << _SLOT_BITS | slot) << _SERIES_BITS | series


RAW = Tier(0, 2 * SECOND_MS, True, 2 * MINUTE_MS, 6 * HOUR_MS, 10 * SECOND_MS)
TEN_SECONDS = Tier(1, 10 * SECOND_MS, False, 10 * MINUTE_MS, 2 * DAY_MS, 10 * SECOND_MS)
MINUTE = Tier(2, MINUTE_MS, False, HOUR_MS, 14 * DAY_MS, 20 * SECOND_MS)
QUARTER = Tier(3, 15 * MINUTE_MS, False, DAY_MS, 60 * DAY_MS, 2 * MINUTE_MS)
# The finest first.
TIERS = (RAW, TEN_SECONDS, MINUTE, QUARTER)


@dataclass(frozen=True, slots=True)
class Choice:
    """`together`: how many steps make one point."""

    tier: Tier
    together: int = 1

    @property
    def step_ms(self) -> int:
        """Between points; 0: as the samples came."""
        return 0 if self.tier.is_raw else self.tier.step_ms * self.together


def choose(
    from_ms: int, to_ms: int, most_points: int, pruned_ms: Mapping[int, int], tiers: Sequence[Tier] = TIERS
) -> Choice:
    """The finest tier that has no more than `most_points`, 2 or more, in the range and still has all of it.

    `pruned_ms`: before when a tier, by its number, has been pruned. Where none has the whole range, the one
    that reaches back furthest; where even the coarsest has too many points, its steps are put together.
    """
    whole_ms = max(0, to_ms - from_ms - 1)
    # A range touches a step more at each end than it has whole ones between them.
    fitting = [tier for tier in tiers if whole_ms // tier.step_ms + 2 <= most_points]
    if not fitting:
        coarsest = tiers[-1]
        return Choice(coarsest, whole_ms // ((most_points - 1) * coarsest.step_ms) + 1)
    for tier in fitting:
        if pruned_ms.get(tier.number, 0) <= from_ms:
            return Choice(tier)
    return Choice(min(fitting, key=lambda tier: pruned_ms.get(tier.number, 0)))
