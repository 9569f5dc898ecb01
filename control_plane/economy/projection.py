"""Where a month's use goes if it goes on as it did so far: a straight line, or nothing where it is early."""

from dataclasses import dataclass

# A line through a few hours says nothing about a month.
LEAST_SEEN_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Projection:
    """`tokens`: used at the month's end, rounded down. `runs_out_unix_ms`: when the quota is used up; None
    where it lasts, or is used up already."""

    tokens: int
    runs_out_unix_ms: int | None


def project(
    used_tokens: int, quota_tokens: int, *, seen_from_unix_ms: int, now_unix_ms: int, ends_unix_ms: int
) -> Projection | None:
    """`used_tokens` were used since `seen_from_unix_ms`. None: less than a day was seen."""
    seen_ms = now_unix_ms - seen_from_unix_ms
    if seen_ms < LEAST_SEEN_MS:
        return None
    left_ms = max(0, ends_unix_ms - now_unix_ms)
    tokens = used_tokens + used_tokens * left_ms // seen_ms
    if tokens <= quota_tokens or used_tokens >= quota_tokens:
        return Projection(tokens, None)
    return Projection(tokens, now_unix_ms + (quota_tokens - used_tokens) * seen_ms // used_tokens)
