"""When an owner lends a card: windows of the week by the wall clock of a named zone. Pure.

A window is written as days and two times: "mon-fri 18:00-08:00", "sat,sun 00:00-24:00", "daily 22:00-06:00".
It holds from the first time up to the second, which is the next day's where it is not later. Where clocks are
set forward, times that do not exist are in no window; where they are set back, what comes twice is twice.
"""

import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MAX_WINDOWS = 32
DAY_MINUTES = 24 * 60
_WINDOW = re.compile(r"([a-z,-]+) +(\d\d):(\d\d) *- *(\d\d):(\d\d)")
# Of the files beside the zones: this host's own setting is nobody's name for a zone.
_NO_ZONES = ("localtime", "posixrules", "Factory")


class BadHours(ValueError):
    """Not a window of the week, or not a zone; the message says what is expected."""


@dataclass(frozen=True, slots=True)
class Window:
    """`days` count from Monday, 0; minutes from midnight. It begins on each of its days."""

    days: frozenset[int]
    begin_minute: int
    end_minute: int

    @classmethod
    def parse(cls, text: str) -> "Window":
        """Raises BadHours."""
        found = _WINDOW.fullmatch(text.strip().lower())
        if found is None:
            raise BadHours(f"{text[:80]!r} is no window: write days and times, e.g. mon-fri 18:00-08:00")
        begin, end = _minute(text, found[2], found[3]), _minute(text, found[4], found[5])
        if begin in (end, DAY_MINUTES):
            raise BadHours(f"{text!r} begins where it ends: write 00:00-24:00 for a whole day")
        return cls(frozenset(_days(found[1])), begin, end)

    def __str__(self) -> str:
        whole = "daily" if len(self.days) == len(DAYS) else ",".join(DAYS[day] for day in sorted(self.days))
        return f"{whole} {_time(self.begin_minute)}-{_time(self.end_minute)}"

    def holds(self, day: int, minute: int) -> bool:
        if self.begin_minute < self.end_minute:
            return day in self.days and self.begin_minute <= minute < self.end_minute
        from_the_day_before = (day - 1) % len(DAYS) in self.days and minute < self.end_minute
        return from_the_day_before or (day in self.days and minute >= self.begin_minute)


def zone_of(name: str) -> ZoneInfo:
    """Raises BadHours."""
    with contextlib.suppress(KeyError, ValueError, OSError):
        zone = ZoneInfo(name)
        if name not in _NO_ZONES and not name.startswith(("posix/", "right/")):
            return zone
    raise BadHours(
        f"this host knows no time zone {name[:80]!r}: write a name of the IANA's list, e.g. Europe/Berlin"
        " (Debian's package tzdata has the list)"
    )


def are_open(windows: Iterable[Window], zone: ZoneInfo, now_unix_ms: int) -> bool:
    local = datetime.fromtimestamp(now_unix_ms / 1000, UTC).astimezone(zone)
    minute = local.hour * 60 + local.minute
    return any(window.holds(local.weekday(), minute) for window in windows)


def _minute(text: str, hours: str, minutes: str) -> int:
    minute = int(hours) * 60 + int(minutes)
    if int(minutes) > 59 or minute > DAY_MINUTES:
        raise BadHours(f"{text!r}: times go from 00:00 to 24:00")
    return minute


def _days(text: str) -> Iterable[int]:
    for part in text.split(","):
        first, _, last = part.partition("-")
        if part == "daily":
            yield from range(len(DAYS))
        elif first in DAYS and (last or first) in DAYS:
            count = (DAYS.index(last or first) - DAYS.index(first)) % len(DAYS) + 1
            yield from ((DAYS.index(first) + number) % len(DAYS) for number in range(count))
        else:
            raise BadHours(f"{part!r} is no day: write {', '.join(DAYS)}, two of them as mon-fri, or daily")


def _time(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
