"""Quota periods: calendar months in UTC, written "2026-11"."""

import re
from datetime import UTC, datetime
from functools import lru_cache

_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])\Z")


_DAY_MS = 86_400_000


def month_of(unix_ms: int) -> str:
    return _month_of_day(unix_ms // _DAY_MS)


@lru_cache(maxsize=4)
def _month_of_day(days: int) -> str:
    return datetime.fromtimestamp(days * _DAY_MS // 1000, UTC).strftime("%Y-%m")


def is_month(text: str) -> bool:
    return _MONTH.match(text) is not None


def month_bounds(month: str) -> tuple[int, int]:
    """When it starts and when the next one does, in Unix milliseconds. Raises ValueError for no month."""
    start = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    following = start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
    return int(start.timestamp()) * 1000, int(following.timestamp()) * 1000
