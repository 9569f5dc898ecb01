"""Which pages there are, and who may see each: the one table."""

from dataclasses import dataclass
from enum import StrEnum

from control_plane.console.viewer import Viewer
from control_plane.economy import Role

EVERY_ROLE = frozenset(Role)
WITH_CARDS = frozenset({Role.OWNER, Role.PROVIDER})


class Audience(StrEnum):
    """Whose page it is."""

    TENANT = "tenant"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Page:
    path: str
    title: str
    audience: Audience
    # The tenant's role decides what is on a page; here, whether there is one. Of the operator's: all.
    roles: frozenset[Role] = EVERY_ROLE
    admins_only: bool = False
    # Others are reached from a page that is.
    in_navigation: bool = True


FACTORY = Page("/console", "AI Factory", Audience.TENANT)
TRY_IT = Page("/console/try", "Try it", Audience.TENANT)
DIAGNOSTICS = Page(
    "/console/cards/{agent}/diagnostics",
    "Diagnostics",
    Audience.TENANT,
    WITH_CARDS,
    admins_only=True,
    in_navigation=False,
)
LOAD_TESTS = Page(
    "/console/cards/{agent}/load-tests",
    "Load tests",
    Audience.TENANT,
    WITH_CARDS,
    admins_only=True,
    in_navigation=False,
)
OPERATOR_HOME = Page("/console/operator", "Fleet", Audience.OPERATOR)
AUDIT = Page("/console/audit", "Audit", Audience.TENANT, admins_only=True)
OPERATOR_TENANTS = Page("/console/operator/tenants", "Tenants", Audience.OPERATOR)
OPERATOR_POOLS = Page("/console/operator/pools", "Pools", Audience.OPERATOR)
OPERATOR_PLANS = Page("/console/operator/plans", "Plans and prices", Audience.OPERATOR)
OPERATOR_LEDGER = Page("/console/operator/ledger", "Ledger", Audience.OPERATOR)
OPERATOR_AUDIT = Page("/console/operator/audit", "Audit", Audience.OPERATOR)

USAGE = Page("/console/usage", "Usage & Pricing", Audience.TENANT)
CALLS = Page("/console/calls", "Calls", Audience.TENANT)

PAGES = (
    FACTORY,
    TRY_IT,
    USAGE,
    CALLS,
    AUDIT,
    DIAGNOSTICS,
    LOAD_TESTS,
    OPERATOR_HOME,
    OPERATOR_TENANTS,
    OPERATOR_POOLS,
    OPERATOR_PLANS,
    OPERATOR_LEDGER,
    OPERATOR_AUDIT,
)


def may_see(viewer: Viewer, page: Page) -> bool:
    if viewer.is_operator:
        return page.audience is Audience.OPERATOR
    return (
        page.audience is Audience.TENANT
        and viewer.role in page.roles
        and (viewer.is_admin or not page.admins_only)
    )


def pages_of(viewer: Viewer) -> list[Page]:
    """In the order of the navigation."""
    return [page for page in PAGES if page.in_navigation and may_see(viewer, page)]
