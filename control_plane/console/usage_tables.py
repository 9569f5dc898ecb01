"""The tables of the usage pages as files: what the REST interface answers, of the viewer's tenant alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlmodel import Session

from control_plane.api import NotServed, not_served
from control_plane.console.usage_months import Month
from control_plane.console.usage_sections import Section
from control_plane.economy import (
    Credit,
    Economy,
    Group,
    QuotaStanding,
    Saving,
    Served,
    Spend,
    Statement,
    credits_of_cards,
    quota_standing,
    savings,
    served,
    spending,
    statements,
)
from control_plane.identifiers import TenantId
from control_plane.store import unix_ms
from control_plane.store.tables import Tenant


@dataclass(frozen=True, slots=True)
class Asked:
    session: Session
    economy: Economy
    tenant_id: TenantId
    month: Month


@dataclass(frozen=True, slots=True)
class Table:
    section: Section
    row_type: type
    rows: Callable[[Asked], list[object]]


def spend(asked: Asked, *by: Group) -> list[Spend]:
    return spending(asked.session, asked.month.span, by, tenant_id=asked.tenant_id)


def quota(asked: Asked) -> list[QuotaStanding]:
    """Of the month that it is, whichever is asked for."""
    tenant = asked.session.get_one(Tenant, asked.tenant_id)
    return quota_standing(asked.session, tenant, asked.economy, now_unix_ms=unix_ms())


def _spend(*by: Group) -> Table:
    return Table(Section.SPEND, Spend, lambda asked: list(spend(asked, *by)))


TABLES: Mapping[str, Table] = {
    "spend-by-tier": _spend(Group.TIER),
    "spend-by-model": _spend(Group.MODEL),
    "spend-by-key": _spend(Group.KEY),
    "spend-by-day": _spend(Group.DAY),
    "refusals": Table(
        Section.SPEND,
        NotServed,
        lambda asked: list(not_served(asked.session, asked.month.span, tenant_id=asked.tenant_id)),
    ),
    "quota": Table(Section.QUOTA, QuotaStanding, lambda asked: list(quota(asked))),
    "savings": Table(
        Section.SAVINGS,
        Saving,
        lambda asked: list(savings(asked.session, asked.month.span, tenant_id=asked.tenant_id)),
    ),
    "served": Table(
        Section.CREDITS,
        Served,
        lambda asked: list(served(asked.session, asked.month.span, tenant_id=asked.tenant_id)),
    ),
    # Of all months: what was earned in one may become payable in another.
    "credits": Table(
        Section.CREDITS,
        Credit,
        lambda asked: list(credits_of_cards(asked.session, tenant_id=asked.tenant_id)),
    ),
    "statements": Table(
        Section.STATEMENTS,
        Statement,
        lambda asked: list(statements(asked.session, tenant_id=asked.tenant_id)),
    ),
}
