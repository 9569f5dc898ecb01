"""A tenant's role is a function of facts."""

from dataclasses import astuple, fields, replace
from inspect import signature

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.economy import Role, RoleFacts, resolve_role


@pytest.mark.parametrize(
    ("facts", "role"),
    [
        (RoleFacts(), Role.NONE),
        (RoleFacts(live_subscriptions=1), Role.CONSUMER),
        (RoleFacts(enrolled_cards=1), Role.OWNER),
        (RoleFacts(enrolled_cards=1, live_subscriptions=1), Role.OWNER),
        (RoleFacts(enrolled_cards=1, live_contributions=1), Role.PROVIDER),
        (RoleFacts(enrolled_cards=2, live_contributions=1, live_subscriptions=3), Role.PROVIDER),
    ],
)
def test_the_first_that_fits_is_the_role(facts: RoleFacts, role: Role) -> None:
    assert resolve_role(facts) is role


@given(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
def test_a_subscription_never_changes_what_cards_make(cards: int, lent: int, subscriptions: int) -> None:
    role = resolve_role(RoleFacts(cards, lent, subscriptions))
    without = resolve_role(RoleFacts(cards, lent, 0))
    assert role is without or (without is Role.NONE and role is Role.CONSUMER)


FACTS = st.builds(RoleFacts, st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))


@given(FACTS)
def test_whoever_lends_a_card_becomes_a_provider_whatever_else_it_has(facts: RoleFacts) -> None:
    lending = replace(facts, live_contributions=facts.live_contributions + 1)
    assert resolve_role(lending) is Role.PROVIDER


@given(FACTS)
def test_whoever_enrols_a_card_is_an_owner_at_least(facts: RoleFacts) -> None:
    enrolled = replace(facts, enrolled_cards=facts.enrolled_cards + 1)
    assert resolve_role(enrolled) in (Role.OWNER, Role.PROVIDER)


@given(FACTS, FACTS)
def test_how_many_there_are_of_each_makes_no_difference(facts: RoleFacts, others: RoleFacts) -> None:
    more = RoleFacts(
        *(
            number + (other if number else 0)
            for number, other in zip(astuple(facts), astuple(others), strict=True)
        )
    )
    assert resolve_role(more) is resolve_role(facts)


def test_a_role_is_made_of_what_the_store_says_alone() -> None:
    """No liveness, no key, no header, nothing that a client sends: there is no place for it."""
    assert [field.name for field in fields(RoleFacts)] == [
        "enrolled_cards",
        "live_contributions",
        "live_subscriptions",
    ]
    assert list(signature(resolve_role).parameters) == ["facts"]
