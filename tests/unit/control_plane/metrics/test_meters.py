"""What is counted of calls, and whose it is."""

from typing import Any

import pytest

from control_plane.identifiers import TenantId
from control_plane.metrics import OPERATORS, CallMeters, EndedCall, Meters, NoMeters, Scope
from control_plane.store.tables import CallOutcome, Tier

ACME, OTHER = TenantId("ten-1"), TenantId("ten-2")
NAMES = {ACME: "acme", OTHER: "other"}


def _call(tenant_id: TenantId = ACME, **fields: Any) -> EndedCall:
    values: dict[str, Any] = {
        "tenant_id": tenant_id,
        "tier": Tier.OWN,
        "outcome": CallOutcome.COMPLETE,
        "prompt_tokens": 37,
        "completion_tokens": 8,
        "first_token_s": 0.3,
    }
    return EndedCall(**(values | fields))


def _shown(meters: CallMeters, scope: Scope = OPERATORS) -> dict[tuple[str, ...], float]:
    """Values by sample name and labels, the first being the name."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in meters.collect(scope, NAMES)
        for sample in family.samples
    }


def test_calls_and_tokens_are_counted_by_tenant_and_tier() -> None:
    meters = CallMeters()
    meters.call_ended(_call())
    meters.call_ended(_call(outcome=CallOutcome.CLIENT_GONE, completion_tokens=2))
    meters.call_ended(_call(tier=None, outcome=CallOutcome.REFUSED, first_token_s=None))
    shown = _shown(meters)
    assert shown["daalu_calls_total", "acme", "own", "complete"] == 1
    assert shown["daalu_calls_total", "acme", "own", "client_gone"] == 1
    assert shown["daalu_calls_total", "acme", "none", "refused"] == 1
    assert shown["daalu_tokens_total", "acme", "own", "completion"] == 10


def test_the_time_to_the_first_token_is_a_cumulative_histogram() -> None:
    meters = CallMeters()
    for seconds in (0.01, 0.05, 0.3, 90.0):
        meters.call_ended(_call(first_token_s=seconds))
    shown = _shown(meters)
    name = "daalu_first_token_seconds_bucket", "acme", "own"
    assert [shown[*name, limit] for limit in ("0.025", "0.05", "0.2", "0.4", "50", "+Inf")] == [
        1,
        2,
        2,
        3,
        3,
        4,
    ]
    assert shown["daalu_first_token_seconds_count", "acme", "own"] == 4
    assert shown["daalu_first_token_seconds_sum", "acme", "own"] == pytest.approx(90.36)


def test_refusals_and_failed_attempts_are_counted_by_their_code() -> None:
    meters = CallMeters()
    meters.refused(ACME, "rate_limited")
    meters.refused(None, "invalid_api_key")
    meters.attempt_failed(ACME, Tier.POOL, "connect_failed")
    shown = _shown(meters)
    assert shown["daalu_refusals_total", "acme", "rate_limited"] == 1
    assert shown["daalu_refusals_total", "", "invalid_api_key"] == 1
    assert shown["daalu_attempts_failed_total", "acme", "pool", "connect_failed"] == 1


def test_a_tenant_sees_its_own_counts_and_nobody_elses() -> None:
    meters = CallMeters()
    for tenant_id in (ACME, OTHER):
        meters.call_ended(_call(tenant_id))
        meters.refused(tenant_id, "no_capacity")
        meters.attempt_failed(tenant_id, Tier.OWN, "timeout")
    meters.refused(None, "invalid_api_key")
    assert {labels[1] for labels in _shown(meters, Scope(ACME))} == {"acme"}
    assert {labels[1] for labels in _shown(meters)} == {"", "acme", "other"}


@pytest.mark.parametrize("meters", [CallMeters(), NoMeters()])
def test_counting_never_raises_whatever_comes(meters: Meters) -> None:
    meters.call_ended(_call(TenantId("unheard"), prompt_tokens=0, first_token_s=-1.0))
    meters.refused(TenantId(""), "")
    meters.attempt_failed(ACME, Tier.EXTERNAL, "")
