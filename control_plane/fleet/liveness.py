"""Whether an agent is there: the whole state machine. Pure; times are monotonic seconds, given by callers.

The one promise that routing rests on: an agent that was silent for OUT_AFTER_S is OUT, whatever else
happened, and comes back only by a fresh sample and then a probe of its engine.
"""

import math
from dataclasses import dataclass, replace
from enum import Enum, auto

from control_plane.fleet.view import Liveness

SUSPECT_AFTER_S = 10.0
OUT_AFTER_S = 15.0


class Event(Enum):
    SAMPLE = auto()  # a telemetry sample came
    PROBED = auto()  # the engine answered a probe, or none is expected to run
    QUIET = auto()  # silent for SUSPECT_AFTER_S
    SILENT = auto()  # silent for OUT_AFTER_S


# What is not in the table changes nothing.
_TABLE = {
    (Liveness.NEVER, Event.PROBED): Liveness.LIVE,
    (Liveness.LIVE, Event.QUIET): Liveness.SUSPECT,
    (Liveness.LIVE, Event.SILENT): Liveness.OUT,
    (Liveness.SUSPECT, Event.SAMPLE): Liveness.LIVE,
    (Liveness.SUSPECT, Event.SILENT): Liveness.OUT,
    (Liveness.OUT, Event.PROBED): Liveness.LIVE,
}


@dataclass(frozen=True, slots=True)
class Contact:
    """An agent's liveness, and when its last sample came (monotonic seconds; -inf: never)."""

    liveness: Liveness = Liveness.NEVER
    heard_s: float = -math.inf

    @property
    def wants_probe(self) -> bool:
        """Samples alone do not bring it into routing."""
        return self.liveness in (Liveness.NEVER, Liveness.OUT)


def at(contact: Contact, now_s: float) -> Contact:
    """What the passing of time makes of it."""
    silence_s = now_s - contact.heard_s
    if silence_s >= OUT_AFTER_S:
        return _step(contact, Event.SILENT)
    if silence_s >= SUSPECT_AFTER_S:
        return _step(contact, Event.QUIET)
    return contact


def sampled(contact: Contact, now_s: float) -> Contact:
    """A sample came. After a long silence this alone changes nothing but `heard_s`."""
    return replace(_step(at(contact, now_s), Event.SAMPLE), heard_s=now_s)


def probed(contact: Contact, now_s: float) -> Contact:
    """A probe succeeded. It counts only beside a sample that is fresh."""
    current = at(contact, now_s)
    if now_s - current.heard_s >= SUSPECT_AFTER_S:
        return current
    return _step(current, Event.PROBED)


def next_look_s(contact: Contact) -> float:
    """When time alone changes it next (monotonic seconds; inf: it does not)."""
    match contact.liveness:
        case Liveness.LIVE:
            return contact.heard_s + SUSPECT_AFTER_S
        case Liveness.SUSPECT:
            return contact.heard_s + OUT_AFTER_S
        case _:
            return math.inf


def _step(contact: Contact, event: Event) -> Contact:
    following = _TABLE.get((contact.liveness, event), contact.liveness)
    return contact if following is contact.liveness else replace(contact, liveness=following)
