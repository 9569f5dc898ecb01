"""Which tier answers a query, and where chunks lie."""

import pytest

from control_plane.fleet.telemetry.tiers import (
    DAY_MS,
    HOUR_MS,
    MINUTE,
    MINUTE_MS,
    QUARTER,
    RAW,
    SECOND_MS,
    TEN_SECONDS,
    TIERS,
    Choice,
    Tier,
    choose,
)

NOW_MS = 1_790_000_000_000


@pytest.mark.parametrize(
    ("span_ms", "points", "tier"),
    [
        (5 * MINUTE_MS, 300, RAW),
        (10 * MINUTE_MS, 300, TEN_SECONDS),
        (HOUR_MS, 400, TEN_SECONDS),
        (HOUR_MS, 300, MINUTE),
        (DAY_MS, 1_441, MINUTE),
        (DAY_MS, 1_440, QUARTER),
    ],
)
def test_the_finest_tier_that_fits_is_chosen(span_ms: int, points: int, tier: Tier) -> None:
    assert choose(NOW_MS - span_ms, NOW_MS, points, {}) == Choice(tier)


def test_where_even_the_coarsest_has_too_many_points_steps_are_put_together() -> None:
    choice = choose(NOW_MS - 60 * DAY_MS, NOW_MS, 100, {})
    assert choice.tier is QUARTER
    points = -(-NOW_MS // choice.step_ms) - (NOW_MS - 60 * DAY_MS) // choice.step_ms
    assert points <= 100


@pytest.mark.parametrize("points", [2, 3, 7, 100, 2_000])
@pytest.mark.parametrize("span_ms", [1, SECOND_MS, HOUR_MS, 17 * DAY_MS, 366 * DAY_MS])
def test_a_range_never_has_more_points_than_asked_for(points: int, span_ms: int) -> None:
    choice = choose(NOW_MS - span_ms, NOW_MS, points, {})
    if choice.step_ms:
        assert -(-NOW_MS // choice.step_ms) - (NOW_MS - span_ms) // choice.step_ms <= points


def test_a_tier_that_was_pruned_within_the_range_is_passed_over() -> None:
    pruned = {RAW.number: NOW_MS - MINUTE_MS}
    assert choose(NOW_MS - 5 * MINUTE_MS, NOW_MS, 300, pruned).tier is TEN_SECONDS
    assert choose(NOW_MS - MINUTE_MS, NOW_MS, 300, pruned).tier is RAW


def test_where_nothing_reaches_back_far_enough_what_reaches_furthest_is_chosen() -> None:
    pruned = {tier.number: NOW_MS - tier.keep_ms for tier in TIERS}
    begins = NOW_MS - 100 * DAY_MS
    assert choose(begins, begins + HOUR_MS, 1_000, pruned).tier is QUARTER


def test_chunks_lie_by_tier_then_time_then_series() -> None:
    order = [
        RAW.chunk_id(1, 2),
        RAW.chunk_id(2, 1),
        RAW.chunk_id(2, 2),
        TEN_SECONDS.chunk_id(0, 0),
        QUARTER.chunk_id(QUARTER.slot(NOW_MS), 2**32 - 1),
    ]
    assert order == sorted(set(order))
    assert order[-1] < 2**63


@pytest.mark.parametrize("tier", TIERS)
def test_slot_and_offset_are_the_time_again(tier: Tier) -> None:
    moment_ms = tier.moment_ms(tier.slot(NOW_MS), tier.offset(NOW_MS))
    assert 0 <= NOW_MS - moment_ms < (1 if tier.is_raw else tier.step_ms)


@pytest.mark.parametrize("tier", TIERS)
def test_a_clock_that_is_far_off_breaks_nothing(tier: Tier) -> None:
    for unix_ms in (-1, 0, 2**62):
        assert 0 <= tier.chunk_id(tier.slot(unix_ms), 1) < 2**63
