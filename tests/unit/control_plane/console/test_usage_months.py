import pytest

from control_plane.access import Invalid
from control_plane.console.usage_months import MOST_CHOICES, choices, month_wanted

NOVEMBER_MS = 1_794_300_000_000
YEAR_MS = 366 * 86_400_000


def test_without_a_wish_it_is_this_month_and_a_month_is_whole() -> None:
    month = month_wanted("", now_unix_ms=NOVEMBER_MS)
    assert (month.text, month.is_current) == ("2026-11", True)
    assert month.span.until_unix_ms - month.span.since_unix_ms == 30 * 86_400_000
    assert not month_wanted("2026-10", now_unix_ms=NOVEMBER_MS).is_current


@pytest.mark.parametrize("text", ["2026-12", "9999-01", "2026-1", "2026-00", "0000-01", "1969-12", "x" * 999])
def test_what_is_no_month_or_has_not_begun_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        month_wanted(text, now_unix_ms=NOVEMBER_MS)
    assert len(str(refused.value)) < 100


def test_choices_are_the_newest_first_over_a_new_year() -> None:
    since = NOVEMBER_MS - YEAR_MS
    found = choices(since_unix_ms=since, now_unix_ms=NOVEMBER_MS)
    assert (found[0], found[10], found[11], found[-1]) == ("2026-11", "2026-01", "2025-12", "2025-11")
    assert choices(since_unix_ms=NOVEMBER_MS, now_unix_ms=NOVEMBER_MS) == ["2026-11"]
    assert len(choices(since_unix_ms=0, now_unix_ms=NOVEMBER_MS)) == MOST_CHOICES
