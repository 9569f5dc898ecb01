"""When a plan has a vendor, and why it has none."""

from dataclasses import replace

import pytest

from control_plane.economy import ExternalPolicy, PriceTerms
from control_plane.router import (
    AtVendor,
    Breakers,
    CodingCall,
    GeneralCall,
    Reason,
    TenantFacts,
    World,
    place_of,
    plan,
)
from control_plane.router.breakers import FAILURES_TO_OPEN, FIRST_PAUSE_S
from control_plane.vendors import VendorModel
from tests.support.gateway import TENANT, agent_view, fleet_view

FIRST = VendorModel("first", "tiny", "their/tiny", 4_096, 512, PriceTerms(1, 1, 1))
SECOND = replace(FIRST, vendor="second")
CALL = GeneralCall(model="tiny", prompt_characters=100, max_tokens=None)
ALLOWED = TenantFacts(TENANT, external=ExternalPolicy(allowed=True, monthly_cap_micro_usd=1))
WORLD = World(vendors=(FIRST, SECOND))


def test_vendors_come_after_the_tenants_own_cards_in_the_files_order() -> None:
    made = plan(CALL, ALLOWED, replace(WORLD, fleet=fleet_view(agent_view("mine"))))
    assert [one.tier for one in made.candidates] == ["own", "external", "external"]
    vendors = [one.model.vendor for one in made.candidates if isinstance(one, AtVendor)]
    assert vendors == ["first", "second"]


@pytest.mark.parametrize("policy", [ExternalPolicy(), ExternalPolicy(True, 0), ExternalPolicy(False, 1)])
def test_a_tenant_that_was_not_allowed_vendors_or_has_no_cap_gets_none(policy: ExternalPolicy) -> None:
    made = plan(CALL, replace(ALLOWED, external=policy), WORLD)
    assert made.candidates == ()
    assert [left.reason for left in made.left_out] == [Reason.EXTERNAL_NOT_ALLOWED]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"max_tokens": 512}, None),
        ({"max_tokens": 513}, Reason.CONTEXT_TOO_SMALL),
        ({"prompt_characters": 100_000}, Reason.CONTEXT_TOO_SMALL),
        ({"text_only": False}, Reason.NOT_TEXT),
    ],
)
def test_a_call_that_a_vendor_could_not_serve_is_not_sent_there(
    change: dict[str, int], reason: Reason | None
) -> None:
    made = plan(replace(CALL, **change), ALLOWED, World(vendors=(FIRST,)))  # type: ignore[arg-type]
    assert [left.reason for left in made.left_out] == ([] if reason is None else [reason])
    assert len(made.candidates) == (1 if reason is None else 0)


def test_a_coding_calls_plan_has_no_vendor_whatever_the_policy() -> None:
    made = plan(CodingCall("tiny", 100, None), ALLOWED, WORLD)
    assert (made.candidates, made.left_out) == ((), ())


def test_a_vendor_that_keeps_failing_is_left_alone_for_a_while() -> None:
    breakers = Breakers()
    for _ in range(FAILURES_TO_OPEN):
        breakers.failed("first", 0.0)
    made = plan(CALL, ALLOWED, replace(WORLD, broken=breakers.open_at(1.0)))
    assert [place_of(each) for each in made.candidates] == ["second"]
    assert [left.reason for left in made.left_out] == [Reason.BREAKER_OPEN]
    assert breakers.open_at(FIRST_PAUSE_S) == frozenset()
