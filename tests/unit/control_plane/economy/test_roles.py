"""A tenant's role is a function of facts."""

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
