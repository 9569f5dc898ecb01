"""Limits per minute and at once."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from control_plane.economy import Admitted, Limit, Limited, LimitTable
from control_plane.economy.limits import MINUTE_NS, decide
from control_plane.identifiers import PoolId, TenantId
from tests.support.economy import FREE

SECOND_NS = 1_000_000_000
KEY = (TenantId("ten-1"), PoolId("pool-1"))
PLAN = replace(FREE, requests_per_minute=3, tokens_per_minute=600, concurrent_calls=10)


@given(st.lists(st.tuples(st.integers(0, 20 * SECOND_NS), st.integers(1, 50)), max_size=60))
def test_no_minute_admits_more_than_two_limits(steps: list[tuple[int, int]]) -> None:
    now, ready, admitted = 10 * MINUTE_NS, 0, []
    for wait, cost in steps:
        now += wait
        verdict = decide(ready, now, cost, 100)
        ready = verdict.ready_ns
        if verdict.admitted:
            admitted.append((now, cost))
    for start, _ in admitted:
        # A burst of one minute's worth, and what flowed in since.
        assert sum(cost for at, cost in admitted if start <= at < start + MINUTE_NS) <= 200


@given(st.integers(0, 10 * MINUTE_NS), st.integers(1, 500), st.integers(1, 200))
def test_after_the_wait_that_is_told_the_same_call_is_admitted(spent: int, cost: int, limit: int) -> None:
    now = 20 * MINUTE_NS
    verdict = decide(now + spent, now, cost, limit)
    if not verdict.admitted:
        assert verdict.retry_after_ns > 0
        assert decide(verdict.ready_ns, now + verdict.retry_after_ns, cost, limit).admitted


def test_a_call_larger_than_the_limit_waits_for_a_full_one_and_leaves_a_debt() -> None:
    first = decide(0, MINUTE_NS, 250, 100)
    assert first.admitted
    second = decide(first.ready_ns, MINUTE_NS, 1, 100)
    assert not second.admitted
    assert second.retry_after_ns > MINUTE_NS


def test_a_limit_of_nothing_admits_nothing() -> None:
    assert not decide(0, MINUTE_NS, 1, 0).admitted


def test_requests_beyond_the_limit_are_refused_with_the_time_to_wait() -> None:
    table = LimitTable()
    for _ in range(3):
        assert isinstance(table.admit(KEY, PLAN, 10, MINUTE_NS), Admitted)
    refused = table.admit(KEY, PLAN, 10, MINUTE_NS)
    assert isinstance(refused, Limited)
    assert (refused.limit, refused.retry_after_s) == (Limit.REQUESTS, 20)
    assert refused.headers["x-ratelimit-limit-requests"] == "3"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.headers["x-ratelimit-reset-requests"] == "60.000s"
    assert isinstance(table.admit(KEY, PLAN, 10, MINUTE_NS + 20 * SECOND_NS), Admitted)


def test_a_refusal_spends_nothing() -> None:
    table = LimitTable()
    assert isinstance(table.admit(KEY, PLAN, 600, MINUTE_NS), Admitted)
    for _ in range(20):
        refused = table.admit(KEY, PLAN, 60, MINUTE_NS)
        assert isinstance(refused, Limited)
        assert (refused.limit, refused.retry_after_s) == (Limit.TOKENS, 6)
    assert table.running(KEY) == 1
    assert isinstance(table.admit(KEY, PLAN, 60, MINUTE_NS + 6 * SECOND_NS), Admitted)


def test_unused_tokens_are_given_back_when_a_call_ends() -> None:
    table = LimitTable()
    table.admit(KEY, PLAN, 600, MINUTE_NS)
    table.release(KEY, PLAN, 540, MINUTE_NS)
    assert isinstance(table.admit(KEY, PLAN, 540, MINUTE_NS), Admitted)


def test_calls_at_once_are_bounded_until_one_ends() -> None:
    plan = replace(PLAN, requests_per_minute=100, concurrent_calls=2)
    table = LimitTable()
    for _ in range(2):
        assert isinstance(table.admit(KEY, plan, 1, MINUTE_NS), Admitted)
    refused = table.admit(KEY, plan, 1, MINUTE_NS)
    assert isinstance(refused, Limited)
    assert refused.limit is Limit.CONCURRENCY
    table.release(KEY, plan, 0, MINUTE_NS)
    assert isinstance(table.admit(KEY, plan, 1, MINUTE_NS), Admitted)


def test_several_gateways_share_a_limit() -> None:
    plan = replace(PLAN, requests_per_minute=10, tokens_per_minute=10_000)
    table = LimitTable()
    admitted = [table.admit(KEY, plan, 1, MINUTE_NS, processes=2) for _ in range(10)]
    assert sum(isinstance(each, Admitted) for each in admitted) == 5


def test_the_table_is_bounded_and_forgets_nobody_with_calls_running() -> None:
    table = LimitTable(most=3)
    table.admit(KEY, PLAN, 1, MINUTE_NS)
    for number in range(20):
        other = (TenantId(f"ten-other-{number}"), KEY[1])
        table.admit(other, PLAN, 1, MINUTE_NS)
        table.release(other, PLAN, 0, MINUTE_NS)
    assert len(table) == 3
    assert table.running(KEY) == 1
