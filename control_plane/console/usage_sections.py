"""Which parts of the usage pages a tenant is shown, and may have as files: the one table. Pure."""

from collections.abc import Mapping
from enum import StrEnum

from control_plane.economy import Role


class Section(StrEnum):
    SPEND = "spend"
    QUOTA = "quota"
    SAVINGS = "savings"
    CREDITS = "credits"
    STATEMENTS = "statements"
    PRICES = "prices"


_EVERYBODY = frozenset({Section.SPEND, Section.QUOTA, Section.STATEMENTS, Section.PRICES})
SECTIONS: Mapping[Role, frozenset[Section]] = {
    Role.NONE: _EVERYBODY,
    Role.CONSUMER: _EVERYBODY,
    Role.OWNER: _EVERYBODY | {Section.SAVINGS},
    Role.PROVIDER: _EVERYBODY | {Section.SAVINGS, Section.CREDITS},
}


def sections_of(role: Role, *, has_credits: bool) -> frozenset[Section]:
    """`has_credits`: its cards earned something once, which stays its own when it lends no longer."""
    return SECTIONS[role] | ({Section.CREDITS} if has_credits else frozenset())
