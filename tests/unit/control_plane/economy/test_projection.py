"""A month is projected in a straight line through what was seen, and not at all where that is too little."""

from hypothesis import given
from hypothesis import strategies as st

from control_plane.economy.projection import LEAST_SEEN_MS, Projection, project

_DAY = 86_400_000


def test_a_third_of_the_month_is_projected_to_three_times_its_tokens() -> None:
    seen = project(100, 1_000, seen_from_unix_ms=0, now_unix_ms=10 * _DAY, ends_unix_ms=30 * _DAY)
    assert seen == Projection(300, None)


def test_a_quota_that_does_not_last_runs_out_when_the_line_meets_it() -> None:
    seen = project(100, 150, seen_from_unix_ms=0, now_unix_ms=10 * _DAY, ends_unix_ms=30 * _DAY)
    assert seen == Projection(300, 15 * _DAY)


def test_a_quota_that_is_used_up_has_no_moment_to_come() -> None:
    seen = project(150, 150, seen_from_unix_ms=0, now_unix_ms=10 * _DAY, ends_unix_ms=30 * _DAY)
    assert seen == Projection(450, None)


def test_less_than_a_day_is_too_early() -> None:
    assert project(9, 9, seen_from_unix_ms=0, now_unix_ms=LEAST_SEEN_MS - 1, ends_unix_ms=30 * _DAY) is None
    assert project(9, 9, seen_from_unix_ms=0, now_unix_ms=LEAST_SEEN_MS, ends_unix_ms=30 * _DAY) is not None


@given(
    st.integers(0, 10**12),
    st.integers(0, 10**12),
    st.integers(_DAY, 31 * _DAY),
    st.integers(0, 31 * _DAY),
)
def test_a_projection_is_never_below_what_was_used_and_runs_out_only_within_the_month(
    used: int, quota: int, seen_ms: int, left_ms: int
) -> None:
    found = project(used, quota, seen_from_unix_ms=0, now_unix_ms=seen_ms, ends_unix_ms=seen_ms + left_ms)
    assert found is not None
    assert found.tokens >= used
    if found.runs_out_unix_ms is not None:
        assert seen_ms <= found.runs_out_unix_ms <= seen_ms + left_ms
        assert found.tokens > quota > used
