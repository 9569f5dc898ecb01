"""A bounded range of time, in whole UTC days as people name them."""

from dataclasses import dataclass
from datetime import UTC, date, datetime

from control_plane.access import Invalid

DAY_MS = 86_400_000
MOST_DAYS = 366


@dataclass(frozen=True, slots=True)
class Span:
    """From `since_unix_ms` on, before `until_unix_ms`."""

    since_unix_ms: int
    until_unix_ms: int


def span_of_days(first: str | None, last: str | None, *, now_unix_ms: int, most: int = MOST_DAYS) -> Span:
    """Both days inclusive, written like 2026-11-25.

    Without `last`: until today. Without `first`: since the start of `last`'s month. Raises Invalid for what
    is no day, an end before its start, and more than `most` days.
    """
    end = _day(last) if last is not None else datetime.fromtimestamp(now_unix_ms // 1000, UTC).date()
    start = _day(first) if first is not None else end.replace(day=1)
    if end < start:
        raise Invalid(f"the range ends on {end}, before it starts on {start}")
    days = (end - start).days + 1
    if days > most:
        raise Invalid(f"{start} to {end} is {days} days; at most {most} are answered at once: ask in parts")
    since = int(datetime(start.year, start.month, start.day, tzinfo=UTC).timestamp()) * 1000
    return Span(since, since + days * DAY_MS)


def day_text(day: int) -> str:
    """`day` counts from 1970-01-01."""
    return datetime.fromtimestamp(day * DAY_MS // 1000, UTC).strftime("%Y-%m-%d")


def _day(text: str) -> date:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        found = None
    # Near the last year that dates can have, the day after would not be one.
    if found is None or found.isoformat() != text or not 1970 <= found.year <= 9000:
        raise Invalid(f"a day is written like 2026-11-25, not {text[:20]!r}")
    return found
