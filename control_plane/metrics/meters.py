"""What the gateway counts with. Calls are many: counting one costs a few entries of dictionaries.

All of it happens on the event loop. The labels are ours or the store's, never a client's own words, so that
their number is bounded: tenants times a handful.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from control_plane.identifiers import TenantId
from control_plane.metrics.scope import Scope
from control_plane.store.tables import CallOutcome, Tier

FIRST_TOKEN_BUCKETS_S = (0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 6.0, 12.0, 25.0, 50.0)


@dataclass(frozen=True, slots=True)
class EndedCall:
    """`tier`: where it was served last; None: nowhere. `first_token_s`: from its start; None: none came."""

    tenant_id: TenantId
    tier: Tier | None
    outcome: CallOutcome
    prompt_tokens: int
    completion_tokens: int
    first_token_s: float | None


class Meters(Protocol):
    """What the gateway calls, on the event loop. None of it blocks or raises."""

    def call_ended(self, call: EndedCall) -> None:
        """Once for each call that was settled."""
        ...

    def refused(self, tenant_id: TenantId | None, code: str) -> None:
        """An answer with an error's code. None: of nobody that is known."""
        ...

    def attempt_failed(self, tenant_id: TenantId, tier: Tier, fault: str) -> None: ...


class NoMeters:
    """For who counts nothing."""

    def call_ended(self, call: EndedCall) -> None:
        del call

    def refused(self, tenant_id: TenantId | None, code: str) -> None:
        del tenant_id, code

    def attempt_failed(self, tenant_id: TenantId, tier: Tier, fault: str) -> None:
        del tenant_id, tier, fault


class _Histogram:
    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        # One for each bucket alone, and one for what is above them all.
        self.counts = [0] * (len(FIRST_TOKEN_BUCKETS_S) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(FIRST_TOKEN_BUCKETS_S, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative, as Prometheus has them."""
        total, found = 0, []
        for limit, count in zip((*FIRST_TOKEN_BUCKETS_S, None), self.counts, strict=True):
            total += count
            found.append(("+Inf" if limit is None else f"{limit:g}", float(total)))
        return found


class CallMeters:
    """Meters, and what they show, since this process started."""

    def __init__(self) -> None:
        self._calls: defaultdict[tuple[TenantId, str, str], int] = defaultdict(int)
        self._tokens: defaultdict[tuple[TenantId, str, str], int] = defaultdict(int)
        self._refusals: defaultdict[tuple[TenantId | None, str], int] = defaultdict(int)
        self._faults: defaultdict[tuple[TenantId, str, str], int] = defaultdict(int)
        self._first_token: defaultdict[tuple[TenantId, str], _Histogram] = defaultdict(_Histogram)

    def call_ended(self, call: EndedCall) -> None:
        tenant_id, tier = call.tenant_id, call.tier.value if call.tier else "none"
        self._calls[tenant_id, tier, call.outcome.value] += 1
        self._tokens[tenant_id, tier, "prompt"] += call.prompt_tokens
        self._tokens[tenant_id, tier, "completion"] += call.completion_tokens
        if call.first_token_s is not None:
            self._first_token[tenant_id, tier].observe(call.first_token_s)

    def refused(self, tenant_id: TenantId | None, code: str) -> None:
        self._refusals[tenant_id, code] += 1

    def attempt_failed(self, tenant_id: TenantId, tier: Tier, fault: str) -> None:
        self._faults[tenant_id, tier.value, fault] += 1

    def collect(self, scope: Scope, tenants: Mapping[TenantId, str]) -> Iterator[Metric]:
        """`tenants`: their names. A reader of a tenant's scope does not see refusals of nobody."""
        calls = CounterMetricFamily("daalu_calls", "Calls that ended.", labels=["tenant", "tier", "outcome"])
        tokens = CounterMetricFamily(
            "daalu_tokens", "Tokens of calls that ended.", labels=["tenant", "tier", "kind"]
        )
        refusals = CounterMetricFamily(
            "daalu_refusals", "Answers with an error, by its code.", labels=["tenant", "code"]
        )
        faults = CounterMetricFamily(
            "daalu_attempts_failed", "Attempts that failed.", labels=["tenant", "tier", "fault"]
        )
        for family, counts in ((calls, self._calls), (tokens, self._tokens), (faults, self._faults)):
            for (tenant_id, *labels), count in list(counts.items()):
                if scope.sees(tenant_id):
                    family.add_metric([tenants.get(tenant_id, tenant_id), *labels], count)
        for (refused, code), count in list(self._refusals.items()):
            if scope.is_operators if refused is None else scope.sees(refused):
                refusals.add_metric([tenants.get(refused, refused) if refused else "", code], count)
        first_token = HistogramMetricFamily(
            "daalu_first_token_seconds",
            "From a call's start to its first content token.",
            labels=["tenant", "tier"],
        )
        for (tenant_id, tier), histogram in list(self._first_token.items()):
            if scope.sees(tenant_id):
                name = tenants.get(tenant_id, tenant_id)
                first_token.add_metric([name, tier], histogram.buckets(), histogram.sum)
        yield from (calls, tokens, refusals, faults, first_token)
