"""How reliable an agent was: its changes of state over a range of time, as far as anybody looked. Pure.

Time that the control plane did not run is neither up nor down, and counts for nothing.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from control_plane.fleet.health_rules import Health
from control_plane.fleet.liveness import OUT_AFTER_S
from control_plane.fleet.view import Liveness

# Judged over this long, back from now.
WINDOW_MS = 30 * 24 * 3_600_000
# An agent that was not heard of yet is not down before one that is silent would be.
GRACE_MS = int(OUT_AFTER_S * 1000)


class Presence(StrEnum):
    UP = "up"
    DOWN = "down"
    # The control plane has just started, or the agent has just enrolled.
    AWAITED = "awaited"
    # Revoked.
    LEFT = "left"


def presence_of(liveness: Liveness | None) -> Presence:
    """None: it left the fleet."""
    match liveness:
        case Liveness.LIVE | Liveness.SUSPECT:
            return Presence.UP
        case Liveness.OUT:
            return Presence.DOWN
        case Liveness.NEVER:
            return Presence.AWAITED
        case None:
            return Presence.LEFT


class Subject(StrEnum):
    """Of what a change is."""

    PRESENCE = "presence"
    HEALTH = "health"


@dataclass(frozen=True, slots=True)
class Change:
    """`state`: a Presence's or a Health's value."""

    at_unix_ms: int
    subject: Subject
    state: str
    words: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """Of time, Unix milliseconds; `end_ms` is not in it."""

    begin_ms: int
    end_ms: int

    def within(self, other: "Span") -> "Span":
        """Empty, with its end at or before its beginning, where they do not meet."""
        return Span(max(self.begin_ms, other.begin_ms), min(self.end_ms, other.end_ms))

    @property
    def length_ms(self) -> int:
        return max(0, self.end_ms - self.begin_ms)


@dataclass(frozen=True, slots=True)
class Reliability:
    """Over `span`. An outage begins when an agent that was up has been silent for 15 s."""

    span: Span
    # How long anybody looked, and could have seen it.
    observed_ms: int
    up_ms: int
    outages_count: int
    # How often its cards became critical, and how often no worse than a warning.
    faults_count: int
    warnings_count: int

    @property
    def uptime(self) -> float | None:
        """A share, 0 to 1; None: nobody looked."""
        return self.up_ms / self.observed_ms if self.observed_ms else None


def reliability(changes: Sequence[Change], watched: Sequence[Span], span: Span) -> Reliability:
    """`changes` in order, with the last of each subject before the span. `watched`: when anybody looked."""
    presence = [change for change in changes if change.subject is Subject.PRESENCE]
    looked = _merged(watched)
    observed_ms = up_ms = 0
    for state, lasted in _lasted(presence, span):
        seen_ms = sum(lasted.within(each).length_ms for each in looked)
        if state in (Presence.UP, Presence.DOWN):
            observed_ms += seen_ms
        if state is Presence.UP:
            up_ms += seen_ms
    outages = _steps(presence, Presence.UP, Presence.DOWN, span)
    faults, warnings = _faults([change for change in changes if change.subject is Subject.HEALTH], span)
    return Reliability(span, observed_ms, up_ms, outages, faults, warnings)


def _merged(spans: Sequence[Span]) -> list[Span]:
    """In order, with none over another: two control planes see no more than one."""
    merged: list[Span] = []
    for each in sorted(spans, key=lambda span: span.begin_ms):
        if merged and each.begin_ms <= merged[-1].end_ms:
            merged[-1] = Span(merged[-1].begin_ms, max(merged[-1].end_ms, each.end_ms))
        else:
            merged.append(each)
    return merged


def _lasted(presence: Sequence[Change], span: Span) -> Iterator[tuple[Presence, Span]]:
    """Each state and when it was, within the span."""
    ends = [change.at_unix_ms for change in presence[1:]] + [span.end_ms]
    for change, end_ms in zip(presence, ends, strict=False):
        state, begin_ms = Presence(change.state), change.at_unix_ms
        if state is Presence.AWAITED:
            state, begin_ms = Presence.DOWN, begin_ms + GRACE_MS
        yield state, Span(begin_ms, end_ms).within(span)


def _steps(presence: Sequence[Change], before: Presence, after: Presence, span: Span) -> int:
    return sum(
        earlier.state == before and later.state == after and _is_in(later, span)
        for earlier, later in itertools.pairwise(presence)
    )


def _faults(health: Sequence[Change], span: Span) -> tuple[int, int]:
    """What was wrong before a restart, and is found to be so again after it, is not a new fault."""
    counts = {Health.CRITICAL: 0, Health.WARNING: 0}
    order = (Health.GOOD, Health.WARNING, Health.CRITICAL)
    before = Health.GOOD
    for change in health:
        state = Health(change.state)
        if state is Health.UNKNOWN:
            continue
        if order.index(state) > order.index(before) and _is_in(change, span):
            counts[state] += 1
        before = state
    return counts[Health.CRITICAL], counts[Health.WARNING]


def _is_in(change: Change, span: Span) -> bool:
    return span.begin_ms <= change.at_unix_ms < span.end_ms
