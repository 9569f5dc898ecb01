import pytest

from control_plane.console.usage_sections import SECTIONS, Section, sections_of
from control_plane.economy import Role


@pytest.mark.parametrize("role", Role)
def test_every_role_has_its_own_spend_quota_statements_and_prices(role: Role) -> None:
    assert SECTIONS[role] >= {Section.SPEND, Section.QUOTA, Section.STATEMENTS, Section.PRICES}


def test_savings_are_for_who_has_cards_and_credits_for_who_lends_or_lent_them() -> None:
    assert {role for role in Role if Section.SAVINGS in SECTIONS[role]} == {Role.OWNER, Role.PROVIDER}
    assert {role for role in Role if Section.CREDITS in SECTIONS[role]} == {Role.PROVIDER}
    assert Section.CREDITS in sections_of(Role.OWNER, has_credits=True)
    assert Section.CREDITS not in sections_of(Role.OWNER, has_credits=False)
