"""Uptime, outages and faults follow from changes, as far as anybody looked."""

import pytest

from control_plane.fleet import Liveness
from control_plane.fleet.telemetry.reliability import (
    GRACE_MS,
    Change,
    Presence,
    Reliability,
    Span,
    Subject,
    presence_of,
    reliability,
)

SPAN = Span(100_000, 1_100_000)
ALWAYS = [Span(0, 2_000_000)]


def _presence(*changes: tuple[int, Presence]) -> list[Change]:
    return [Change(at_ms, Subject.PRESENCE, state) for at_ms, state in changes]


def _health(*changes: tuple[int, str]) -> list[Change]:
    return [Change(at_ms, Subject.HEALTH, state) for at_ms, state in changes]


def _of(changes: list[Change], watched: list[Span] | None = None) -> Reliability:
    return reliability(changes, ALWAYS if watched is None else watched, SPAN)


def test_an_agent_that_was_up_before_and_never_changed_was_up_all_the_time() -> None:
    found = _of(_presence((50_000, Presence.UP)))
    assert (found.uptime, found.observed_ms, found.outages_count) == (1.0, 1_000_000, 0)


def test_an_outage_counts_once_and_takes_its_time_off() -> None:
    found = _of(_presence((0, Presence.UP), (300_000, Presence.DOWN), (500_000, Presence.UP)))
    assert found.uptime == pytest.approx(0.8)
    assert found.outages_count == 1


def test_an_outage_that_began_before_the_range_is_not_counted_but_its_time_is() -> None:
    found = _of(_presence((0, Presence.UP), (50_000, Presence.DOWN), (200_000, Presence.UP)))
    assert found.uptime == pytest.approx(0.9)
    assert found.outages_count == 0


def test_an_outage_that_goes_on_counts_up_to_now() -> None:
    found = _of(_presence((0, Presence.UP), (600_000, Presence.DOWN)))
    assert (found.uptime, found.outages_count) == (0.5, 1)


def test_time_in_which_no_control_plane_ran_is_neither_up_nor_down() -> None:
    changes = _presence(
        (0, Presence.UP), (700_000, Presence.AWAITED), (701_000, Presence.UP), (900_000, Presence.DOWN)
    )
    found = _of(changes, [Span(0, 300_000), Span(700_000, 1_100_000)])
    assert found.observed_ms == 200_000 + 399_000
    assert found.up_ms == 200_000 + 199_000
    assert found.outages_count == 1


def test_an_agent_that_does_not_come_back_after_a_restart_is_down_from_the_grace_on() -> None:
    found = _of(_presence((100_000, Presence.AWAITED)))
    assert (found.up_ms, found.observed_ms) == (0, 1_000_000 - GRACE_MS)
    assert found.uptime == 0


def test_where_nobody_looked_nothing_is_said() -> None:
    assert _of([]).uptime is None
    assert _of(_presence((0, Presence.UP)), []).uptime is None


def test_an_agent_that_was_revoked_is_judged_up_to_then() -> None:
    found = _of(_presence((0, Presence.UP), (200_000, Presence.LEFT)))
    assert (found.uptime, found.observed_ms) == (1.0, 100_000)


def test_two_control_planes_see_no_more_than_one() -> None:
    twice = [Span(0, 900_000), Span(500_000, 2_000_000), Span(600_000, 700_000)]
    assert _of(_presence((0, Presence.UP)), twice).observed_ms == 1_000_000


def test_becoming_critical_is_a_fault_and_becoming_worse_no_second_warning() -> None:
    found = _of(
        _health(
            (0, "good"),
            (200_000, "warning"),
            (300_000, "critical"),
            (400_000, "warning"),
            (500_000, "good"),
            (600_000, "critical"),
        )
    )
    assert (found.faults_count, found.warnings_count) == (2, 1)


def test_a_fault_that_is_found_again_after_a_restart_is_no_new_one() -> None:
    found = _of(_health((0, "critical"), (200_000, "unknown"), (210_000, "critical"), (400_000, "good")))
    assert found.faults_count == 0


def test_a_card_that_is_found_critical_at_first_sight_is_a_fault() -> None:
    assert _of(_health((200_000, "critical"))).faults_count == 1


@pytest.mark.parametrize(
    ("liveness", "presence"),
    [
        (Liveness.LIVE, Presence.UP),
        (Liveness.SUSPECT, Presence.UP),
        (Liveness.OUT, Presence.DOWN),
        (Liveness.NEVER, Presence.AWAITED),
        (None, Presence.LEFT),
    ],
)
def test_presence_follows_from_liveness(liveness: Liveness | None, presence: Presence) -> None:
    assert presence_of(liveness) is presence
