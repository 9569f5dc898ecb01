"""Limits per minute and at once: GCRA over one number each, for requests and for tokens.

GCRA (the generic cell rate algorithm, ITU-T I.371) keeps the theoretical arrival time of the next cell:
how far it lies ahead of now is how much of the burst is spent. Times are nanoseconds of a monotonic clock.
The table lives in one process; several processes each get their part of a limit.
"""

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from control_plane.economy.terms import PlanTerms
from control_plane.identifiers import PoolId, TenantId

MINUTE_NS = 60_000_000_000
MOST_TENANTS = 10_000
# How long until a place among the concurrent calls may be free again is not known: a guess.
CONCURRENCY_RETRY_S = 1

Key = tuple[TenantId, PoolId]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`ready_ns`: the new theoretical arrival time if admitted, the old one if not."""

    admitted: bool
    ready_ns: int
    remaining: int
    retry_after_ns: int
    full_again_ns: int


def decide(ready_ns: int, now_ns: int, cost: int, per_minute: int) -> Verdict:
    """Whether `cost` more fits a limit of `per_minute`, with a burst of one minute's worth.

    A cost above the whole limit is admitted when nothing is spent, and the limit is then in debt: otherwise
    it could never be served. A limit of 0 admits nothing.
    """
    if per_minute <= 0:
        return Verdict(False, ready_ns, 0, MINUTE_NS, MINUTE_NS)
    start = max(ready_ns, now_ns)
    after = start + cost * MINUTE_NS // per_minute
    horizon = now_ns + MINUTE_NS
    if after > horizon and start > now_ns:
        wait = min(after - horizon, start - now_ns)
        return Verdict(False, ready_ns, _remaining(start, now_ns, per_minute), wait, start - now_ns)
    return Verdict(True, after, _remaining(after, now_ns, per_minute), 0, after - now_ns)


def _remaining(ready_ns: int, now_ns: int, per_minute: int) -> int:
    return max(0, (MINUTE_NS - (ready_ns - now_ns)) * per_minute // MINUTE_NS)


class Limit(StrEnum):
    REQUESTS = "requests_per_minute"
    TOKENS = "tokens_per_minute"
    CONCURRENCY = "concurrent_calls"


@dataclass(frozen=True, slots=True)
class Admitted:
    # x-ratelimit-*, for the answer.
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Limited:
    """Refused; nothing was spent."""

    limit: Limit
    retry_after_s: int
    headers: Mapping[str, str]


@dataclass(slots=True)
class _State:
    requests_ready_ns: int = 0
    tokens_ready_ns: int = 0
    running: int = 0


class LimitTable:
    """Where each tenant stands in each pool. Bounded: who has nothing running and was seen longest ago is
    forgotten first, which at worst forgives it a minute."""

    def __init__(self, *, most: int = MOST_TENANTS) -> None:
        self._most = most
        self._states: OrderedDict[Key, _State] = OrderedDict()

    def __len__(self) -> int:
        return len(self._states)

    def admit(
        self, key: Key, plan: PlanTerms, tokens: int, now_ns: int, *, processes: int = 1
    ) -> Admitted | Limited:
        """Spends one request and `tokens`, and takes a place among the concurrent calls.

        `processes`: how many gateways share the limits. Whoever is admitted owes one `release`.
        """
        state = self._state(key)
        requests_limit = _part(plan.requests_per_minute, processes)
        tokens_limit = _part(plan.tokens_per_minute, processes)
        requests = decide(state.requests_ready_ns, now_ns, 1, requests_limit)
        spent = decide(state.tokens_ready_ns, now_ns, tokens, tokens_limit)
        headers = {
            **_headers("requests", requests_limit, requests),
            **_headers("tokens", tokens_limit, spent),
        }
        if not requests.admitted:
            return Limited(Limit.REQUESTS, _seconds(requests.retry_after_ns), headers)
        if not spent.admitted:
            return Limited(Limit.TOKENS, _seconds(spent.retry_after_ns), headers)
        if state.running >= _part(plan.concurrent_calls, processes):
            return Limited(Limit.CONCURRENCY, CONCURRENCY_RETRY_S, headers)
        state.requests_ready_ns, state.tokens_ready_ns = requests.ready_ns, spent.ready_ns
        state.running += 1
        return Admitted(headers)

    def release(
        self, key: Key, plan: PlanTerms, unused_tokens: int, now_ns: int, *, processes: int = 1
    ) -> None:
        """Ends one admitted call: its place is free, and what it did not use of `tokens` is given back."""
        state = self._states.get(key)
        if state is None:
            return
        state.running = max(0, state.running - 1)
        per_minute = _part(plan.tokens_per_minute, processes)
        if per_minute > 0:
            back = max(0, unused_tokens) * MINUTE_NS // per_minute
            state.tokens_ready_ns = max(now_ns, state.tokens_ready_ns - back)

    def running(self, key: Key) -> int:
        state = self._states.get(key)
        return state.running if state is not None else 0

    def _state(self, key: Key) -> _State:
        state = self._states.get(key)
        if state is None:
            if len(self._states) >= self._most:
                self._forget_one()
            state = self._states[key] = _State()
        self._states.move_to_end(key)
        return state

    def _forget_one(self) -> None:
        # Where everybody has calls running, their number is bounded by the gateway's own limit.
        idle = next((key for key, state in self._states.items() if not state.running), None)
        if idle is not None:
            del self._states[idle]


def _part(limit: int, processes: int) -> int:
    return max(1, limit // processes) if limit > 0 else 0


def _seconds(duration_ns: int) -> int:
    return max(1, math.ceil(duration_ns / 1_000_000_000))


def _headers(what: str, limit: int, verdict: Verdict) -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{what}": str(limit),
        f"x-ratelimit-remaining-{what}": str(verdict.remaining),
        f"x-ratelimit-reset-{what}": f"{max(0, verdict.full_again_ns) / 1_000_000_000:.3f}s",
    }
