"""A range is whole UTC days, both ends included, and bounded."""

import pytest

from control_plane.access import Invalid
from control_plane.economy.months import month_bounds, month_of
from control_plane.economy.span import DAY_MS, Span, day_text, span_of_days

# 2026-11-10, within the day.
_NOW = 1_794_300_000_000


def test_without_days_a_range_is_the_month_until_today() -> None:
    span = span_of_days(None, None, now_unix_ms=_NOW)
    assert span.since_unix_ms == month_bounds("2026-11")[0]
    assert span.since_unix_ms < _NOW < span.until_unix_ms <= _NOW + DAY_MS


def test_both_days_belong_to_the_range() -> None:
    span = span_of_days("2026-11-03", "2026-11-04", now_unix_ms=_NOW)
    assert span == Span(span.since_unix_ms, span.since_unix_ms + 2 * DAY_MS)
    assert day_text(span.since_unix_ms // DAY_MS) == "2026-11-03"


@pytest.mark.parametrize(
    ("first", "last", "words"),
    [
        ("2026-11-31", None, "a day is written like"),
        ("20261101", None, "a day is written like"),
        ("0001-01-01", None, "a day is written like"),
        (None, "9999-12-31", "a day is written like"),
        ("", None, "a day is written like"),
        ("2026-11-04", "2026-11-03", "before it starts"),
        ("2020-01-01", "2026-11-03", "at most 366"),
    ],
)
def test_what_is_no_range_is_told_as_such(first: str | None, last: str | None, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        span_of_days(first, last, now_unix_ms=_NOW)


@pytest.mark.parametrize("month", ["2026-02", "2024-02", "2026-11", "2026-12"])
def test_a_month_ends_where_the_next_one_starts(month: str) -> None:
    start, end = month_bounds(month)
    assert (month_of(start), month_of(end - 1)) == (month, month)
    assert month not in (month_of(start - 1), month_of(end))
