"""The usage pages' reads of the store: the economy's own, put together for people."""

from collections import defaultdict
from dataclasses import dataclass

from sqlmodel import Session

from control_plane.economy import Span, served
from control_plane.identifiers import TenantId

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class ServedHour:
    """What a tenant's cards served for others in an hour, of one model; of all consumers together."""

    hour_unix_ms: int
    model: str
    calls: int
    tokens: int
    # What was reversed is taken off.
    credit_pico_usd: int


def served_by_hour(session: Session, span: Span, tenant_id: TenantId) -> list[ServedHour]:
    """The newest first. Raises Invalid where there are more rows than are answered at once."""
    sums: dict[tuple[int, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for each in served(session, span, tenant_id=tenant_id):
        into = sums[each.hour_unix_ms, each.model]
        into[0] += each.calls
        into[1] += each.prompt_tokens + each.completion_tokens
        into[2] += each.credit_pico_usd - each.reversed_pico_usd
    return [
        ServedHour(hour, model, *into)
        for (hour, model), into in sorted(sums.items(), key=lambda item: (-item[0][0], item[0][1]))
    ]
