"""An owner's limits on pool work: when they close an agent and when they open it again."""

import pytest
from daalu_wire.v1 import agent_pb2

from control_plane.fleet.pool_hours import Window
from control_plane.fleet.pool_limits import (
    CALM_FOR_S,
    COOL_FOR_S,
    NO_LIMITS,
    BadLimits,
    LimitKind,
    LimitsState,
    PoolLimits,
    closed,
    observe,
)

WARM = PoolLimits(max_celsius=80)
THIRSTY = PoolLimits(max_watts=100)
FRIDAY_NOON_MS = 1_795_777_200_000  # 2026-11-27T11:00:00Z


def _sample(*cards: tuple[float | None, float | None]) -> agent_pb2.TelemetrySample:
    """Celsius and watts of each card; None: not supported."""
    sample = agent_pb2.TelemetrySample()
    for index, (celsius, watts) in enumerate(cards):
        card = sample.cards.add(uuid=f"GPU-{index}")
        for reading, value in ((card.temperature_celsius, celsius), (card.power_watts, watts)):
            if value is None:
                reading.unsupported = True
            else:
                reading.value = value
    return sample


def _after(limits: PoolLimits, *looks: tuple[float, agent_pb2.TelemetrySample]) -> LimitKind | None:
    """Seconds and what was seen then."""
    state = LimitsState()
    for now_s, sample in looks:
        state = observe(state, limits, sample, (now_s, 0))
    found = closed(limits, state, 0)
    return found.kind if found else None


def test_without_limits_nothing_closes() -> None:
    assert _after(NO_LIMITS, (0, _sample((120, 5_000)))) is None
    assert not NO_LIMITS


def test_the_limit_itself_is_allowed_and_what_is_above_it_closes_at_once() -> None:
    assert _after(WARM, (0, _sample((80, None)))) is None
    assert _after(WARM, (0, _sample((81, None)))) is LimitKind.TEMPERATURE
    assert _after(THIRSTY, (0, _sample((None, 100.1)))) is LimitKind.POWER


def test_one_card_of_several_is_enough() -> None:
    assert _after(WARM, (0, _sample((60, 1), (81, 1)))) is LimitKind.TEMPERATURE


@pytest.mark.parametrize(
    ("limits", "high", "between", "low", "kind", "calm_s"),
    [
        (WARM, (81, 1), (76, 1), (74, 1), LimitKind.TEMPERATURE, COOL_FOR_S),
        (THIRSTY, (50, 101), (50, 95), (50, 89), LimitKind.POWER, CALM_FOR_S),
    ],
)
def test_it_opens_again_only_after_a_while_well_below(
    limits: PoolLimits,
    high: tuple[float, float],
    between: tuple[float, float],
    low: tuple[float, float],
    kind: LimitKind,
    calm_s: float,
) -> None:
    hot = (0.0, _sample(high))
    assert _after(limits, hot, (1, _sample(between)), (1 + 2 * calm_s, _sample(between))) is kind
    assert _after(limits, hot, (1, _sample(low)), (calm_s, _sample(low))) is kind
    assert _after(limits, hot, (1, _sample(low)), (1 + calm_s, _sample(low))) is None
    broken_off = (calm_s, _sample(between))
    assert _after(limits, hot, (1, _sample(low)), broken_off, (1 + calm_s, _sample(low))) is kind


def test_a_limit_that_cannot_be_measured_closes_and_says_so() -> None:
    state = observe(LimitsState(), WARM, _sample((None, 50)), (0, 0))
    found = closed(WARM, state, 0)
    assert found is not None
    assert "temperature is not known" in found.words
    assert _after(WARM) is LimitKind.TEMPERATURE
    assert _after(WARM, (0, agent_pb2.TelemetrySample())) is LimitKind.TEMPERATURE


def test_a_reading_that_fails_once_neither_closes_nor_opens() -> None:
    assert _after(WARM, (0, _sample((70, 1))), (2, _sample((None, 1)))) is None
    hot = (0.0, _sample((90, 1)))
    assert _after(WARM, hot, (2, _sample((None, 1))), (60, _sample((None, 1)))) is LimitKind.TEMPERATURE


def test_outside_its_hours_it_is_closed_and_says_by_whose_clock() -> None:
    lent = PoolLimits((Window.parse("fri 12:00-13:00"),), "Europe/Berlin")
    assert closed(lent, LimitsState(), FRIDAY_NOON_MS) is None
    found = closed(lent, LimitsState(), FRIDAY_NOON_MS + 3_600_000)
    assert found is not None
    assert (found.kind, found.words) == (
        LimitKind.HOURS,
        "its owner lends it fri 12:00-13:00 (Europe/Berlin), which is not now",
    )


def test_the_words_do_not_change_with_every_reading() -> None:
    """They are part of what routing sees, which is replaced whole when it changes."""
    seen = []
    state = LimitsState()
    for now_s, celsius in ((0, 81), (2, 85), (4, 83)):
        state = observe(state, WARM, _sample((celsius, 1)), (now_s, 0))
        seen.append(closed(WARM, state, 0))
    assert seen[0] == seen[1] == seen[2]
    assert seen[0] is not None
    assert (
        seen[0].words
        == "a card of it is above its owner's limit of 80 °C for pool work, until it is below 75 °C"
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"max_celsius": 29}, "max_celsius 29: 30 to 110"),
        ({"max_celsius": 111}, "30 to 110"),
        ({"max_watts": 0}, "max_watts 0: 10 to 2000"),
        ({"hours": (Window.parse("mon 08:00-09:00"),)}, "need a time zone"),
        ({"zone": "UTC"}, "nothing without hours"),
        ({"hours": (Window.parse("mon 08:00-09:00"),) * 33, "zone": "UTC"}, "32 at most"),
    ],
)
def test_limits_that_cannot_be_kept_are_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(BadLimits, match=words):
        PoolLimits(**fields)  # type: ignore[arg-type]
