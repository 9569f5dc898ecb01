"""The months that a page can be of: from a tenant's first to this one. Pure."""

from dataclasses import dataclass

from control_plane.access import Invalid
from control_plane.economy import Span, is_month, month_bounds, month_of

# Older ones are in the statements, and in the address for who types it.
MOST_CHOICES = 24


@dataclass(frozen=True, slots=True)
class Month:
    """`text`: 2026-11, a calendar month in UTC."""

    text: str
    is_current: bool

    @property
    def span(self) -> Span:
        return Span(*month_bounds(self.text))


def month_wanted(text: str, *, now_unix_ms: int) -> Month:
    """This month where none is named. Raises Invalid for what is no month, and for one to come."""
    current = month_of(now_unix_ms)
    if text and (not is_month(text) or text < "1970-01"):
        raise Invalid(f"A month is written like {current}, not {text[:20]!r}.")
    if text > current:
        raise Invalid(f"{text} has not begun: the newest month is {current}.")
    return Month(text or current, text in ("", current))


def choices(*, since_unix_ms: int, now_unix_ms: int) -> list[str]:
    """The newest first."""
    found, first = [month_of(now_unix_ms)], month_of(since_unix_ms)
    while found[-1] > first and len(found) < MOST_CHOICES:
        found.append(month_of(month_bounds(found[-1])[0] - 1))
    return found
