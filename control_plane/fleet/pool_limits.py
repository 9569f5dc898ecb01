"""What an owner allows of pool work on an agent: hours, and the most heat and power of its cards. Pure.

A limit of heat or power closes the agent for pool work with the first sample above it, and opens it again
when every card has been below a lower value for a while: a card that has just lost its work cools down and
takes less power at once, and would be flooded again. A limit whose reading never came cannot be kept, and
closes it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from daalu_wire.v1 import agent_pb2

from control_plane.fleet.health import MAX_CARDS, Watch, step
from control_plane.fleet.health_measures import Measured, value_of
from control_plane.fleet.health_rules import Health, Measure, Rule
from control_plane.fleet.pool_hours import MAX_WINDOWS, BadHours, Window, are_open, zone_of

MIN_CELSIUS, MAX_CELSIUS = 30, 110
MIN_WATTS, MAX_WATTS = 10, 2_000
# How far below a limit a card must have been, and for how long, before it takes pool work again.
COOLER_CELSIUS = 5
LESS_POWER = 0.9
COOL_FOR_S = 10.0
CALM_FOR_S = 60.0


class BadLimits(ValueError):
    """Limits that cannot be kept; the message says what is expected."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """None and empty: no limit. Raises BadLimits."""

    hours: tuple[Window, ...] = ()
    # An IANA name; the hours are by its clock.
    zone: str | None = None
    # Of each card of the agent.
    max_celsius: int | None = None
    max_watts: int | None = None

    def __post_init__(self) -> None:
        if len(self.hours) > MAX_WINDOWS:
            raise BadLimits(f"{len(self.hours)} windows: {MAX_WINDOWS} at most")
        if self.hours and self.zone is None:
            raise BadLimits("hours need a time zone: say by whose clock, e.g. Europe/Berlin")
        if self.zone is not None and not self.hours:
            raise BadLimits("a time zone means nothing without hours: say when pool work is allowed")
        _check("max_celsius", self.max_celsius, MIN_CELSIUS, MAX_CELSIUS)
        _check("max_watts", self.max_watts, MIN_WATTS, MAX_WATTS)

    def __bool__(self) -> bool:
        return self != NO_LIMITS


def _check(name: str, value: int | None, least: int, most: int) -> None:
    if value is not None and not least <= value <= most:
        raise BadLimits(f"{name} {value}: {least} to {most}")


NO_LIMITS = PoolLimits()


class LimitKind(StrEnum):
    """Which limit closes an agent for pool work."""

    HOURS = "hours"
    TEMPERATURE = "temperature"
    POWER = "power"


@dataclass(frozen=True, slots=True)
class Closed:
    """No pool work now. The words stay the same while it is closed for the same reason."""

    kind: LimitKind
    words: str


@dataclass(frozen=True, slots=True)
class LimitsState:
    """What samples have shown so far of the limited measures."""

    watches: Mapping[tuple[str, Measure], Watch] = field(default_factory=dict)
    # Measured at least once, on every card there was.
    known: frozenset[Measure] = frozenset()


def observe(
    before: LimitsState, limits: PoolLimits, sample: agent_pb2.TelemetrySample, now: tuple[float, int]
) -> LimitsState:
    """What a sample makes of it. `now`: monotonic seconds and Unix milliseconds."""
    rules = _rules(limits)
    watches, known = {}, set(before.known)
    for measure, rule in rules.items():
        seen = [(card.uuid, _measured(card, measure)) for card in sample.cards[:MAX_CARDS]]
        if seen and all(each.value is not None for _, each in seen):
            known.add(measure)
        for uuid, measured in seen:
            watches[uuid, measure] = step(rule, before.watches.get((uuid, measure), Watch()), measured, now)
    return LimitsState(MappingProxyType(watches), frozenset(known & rules.keys()))


def closed(limits: PoolLimits, state: LimitsState, now_unix_ms: int) -> Closed | None:
    """Why no pool work is allowed now; None: it is."""
    return _closed_by_hours(limits, now_unix_ms) or next(
        (found for measure in _rules(limits) if (found := _closed_by(measure, limits, state)) is not None),
        None,
    )


def _closed_by_hours(limits: PoolLimits, now_unix_ms: int) -> Closed | None:
    if not limits.hours or limits.zone is None:
        return None
    try:
        zone = zone_of(limits.zone)
    except BadHours as error:
        # It was known when it was set: this host's list has changed.
        return Closed(LimitKind.HOURS, str(error))
    if are_open(limits.hours, zone, now_unix_ms):
        return None
    hours = "; ".join(map(str, limits.hours))
    return Closed(LimitKind.HOURS, f"its owner lends it {hours} ({limits.zone}), which is not now")


def _closed_by(measure: Measure, limits: PoolLimits, state: LimitsState) -> Closed | None:
    kind, limit, again = _shown(measure, limits)
    if measure not in state.known:
        return Closed(
            kind, f"its {kind} is not known, so its owner's limit of {limit} for pool work cannot be kept"
        )
    if any(watch.is_raised for (_, watched), watch in state.watches.items() if watched is measure):
        return Closed(
            kind,
            f"a card of it is above its owner's limit of {limit} for pool work, until it is below {again}",
        )
    return None


def _rules(limits: PoolLimits) -> dict[Measure, Rule]:
    rules = {}
    if limits.max_celsius is not None:
        rules[Measure.TEMPERATURE] = _rule(
            Measure.TEMPERATURE, limits.max_celsius, limits.max_celsius - COOLER_CELSIUS, COOL_FOR_S
        )
    if limits.max_watts is not None:
        rules[Measure.POWER] = _rule(
            Measure.POWER, limits.max_watts, limits.max_watts * LESS_POWER, CALM_FOR_S
        )
    return rules


def _rule(measure: Measure, limit: int, clear_below: float, clear_after_s: float) -> Rule:
    return Rule(
        f"pool_{measure}",
        measure,
        Health.GOOD,
        # The limit itself is allowed.
        math.nextafter(limit, math.inf),
        clear_below,
        "",
        "",
        raise_after_s=0,
        clear_after_s=clear_after_s,
    )


def _shown(measure: Measure, limits: PoolLimits) -> tuple[LimitKind, str, str]:
    """The limit, and what a card must come below."""
    rule = _rules(limits)[measure]
    if measure is Measure.TEMPERATURE:
        return LimitKind.TEMPERATURE, f"{limits.max_celsius} °C", f"{rule.clear_below:g} °C"
    return LimitKind.POWER, f"{limits.max_watts} W", f"{rule.clear_below:g} W"


def _measured(card: agent_pb2.CardSample, measure: Measure) -> Measured:
    if card.lost:
        return Measured(None)
    return Measured(
        value_of(card.temperature_celsius if measure is Measure.TEMPERATURE else card.power_watts)
    )
