"""Quota periods: calendar months in UTC, written "2026-11"."""

import re
from datetime import UTC, datetime

_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])\Z")


def month_of(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m")


def is_month(text: str) -> bool:
    return _MONTH.match(text) is not None
