"""REST: spend, savings, quota, what providers' cards served, and how calls went.

`since` and `until` are UTC days, both inclusive. Amounts are pico-USD. Every table is also CSV (`form=csv`).
"""

from fastapi import APIRouter, Response
from sqlmodel import Session

from control_plane.access import Invalid, find_tenant
from control_plane.api.call_figures import CallFigures, NotServed, call_figures, not_served
from control_plane.api.csv_table import Form, as_wanted
from control_plane.economy import (
    Group,
    QuotaStanding,
    Saving,
    Served,
    Span,
    Spend,
    quota_standing,
    read_economy,
    savings,
    served,
    span_of_days,
    spending,
)
from control_plane.store import Store, unix_ms

# A percentile sorts what it is of.
_MOST_DAYS_OF_CALLS = 31


def usage_routes(store: Store) -> APIRouter:
    routes = APIRouter()
    _money(routes, store)
    _calls(routes, store)
    return routes


def _money(routes: APIRouter, store: Store) -> None:
    @routes.get("/spend", response_model=list[Spend])
    async def spent(
        tenant: str | None = None,
        by: str = "tenant,tier,model",
        since: str | None = None,
        until: str | None = None,
        form: Form = Form.JSON,
    ) -> list[Spend] | Response:
        """Calls, tokens, charge and reversals. `by`: names with commas between them."""
        groups, span = _groups(by), _span(since, until)
        rows = await store.read(
            lambda session: spending(session, span, groups, tenant_id=_tenant_id(session, tenant))
        )
        return as_wanted(rows, Spend, form, "spend")

    @routes.get("/savings", response_model=list[Saving])
    async def saved(
        tenant: str | None = None,
        since: str | None = None,
        until: str | None = None,
        form: Form = Form.JSON,
    ) -> list[Saving] | Response:
        """What own-card calls would have cost in the hosted pools."""
        span = _span(since, until)
        rows = await store.read(lambda session: savings(session, span, tenant_id=_tenant_id(session, tenant)))
        return as_wanted(rows, Saving, form, "savings")

    @routes.get("/tenants/{tenant}/quota", response_model=list[QuotaStanding])
    async def quota(tenant: str, form: Form = Form.JSON) -> list[QuotaStanding] | Response:
        """A tenant's current month in each pool, and where it goes."""

        def query(session: Session) -> list[QuotaStanding]:
            found = find_tenant(session, tenant)
            return quota_standing(session, found, read_economy(session), now_unix_ms=unix_ms())

        rows = await store.read(query)
        return as_wanted(rows, QuotaStanding, form, "quota")

    @routes.get("/served", response_model=list[Served])
    async def lent(
        tenant: str | None = None,
        since: str | None = None,
        until: str | None = None,
        form: Form = Form.JSON,
    ) -> list[Served] | Response:
        """What providers' cards served for others, by hour and model."""
        span = _span(since, until)
        rows = await store.read(lambda session: served(session, span, tenant_id=_tenant_id(session, tenant)))
        return as_wanted(rows, Served, form, "served")


def _calls(routes: APIRouter, store: Store) -> None:
    @routes.get("/call-figures")
    async def figures(
        tenant: str | None = None, since: str | None = None, until: str | None = None
    ) -> CallFigures:
        """How many calls, how they ended, and how long they took. At most 31 days."""
        span = _span(since, until, most=_MOST_DAYS_OF_CALLS)
        return await store.read(
            lambda session: call_figures(session, span, tenant_id=_tenant_id(session, tenant))
        )

    @routes.get("/refusals", response_model=list[NotServed])
    async def refusals(
        tenant: str | None = None,
        since: str | None = None,
        until: str | None = None,
        form: Form = Form.JSON,
    ) -> list[NotServed] | Response:
        """Why calls were refused or failed, the most frequent first. At most 31 days."""
        span = _span(since, until, most=_MOST_DAYS_OF_CALLS)
        rows = await store.read(
            lambda session: not_served(session, span, tenant_id=_tenant_id(session, tenant))
        )
        return as_wanted(rows, NotServed, form, "refusals")


def _span(since: str | None, until: str | None, *, most: int | None = None) -> Span:
    if most is None:
        return span_of_days(since, until, now_unix_ms=unix_ms())
    return span_of_days(since, until, now_unix_ms=unix_ms(), most=most)


def _groups(by: str) -> frozenset[Group]:
    names = [name for name in by.split(",") if name]
    for name in names:
        if name not in list(Group):
            raise Invalid(f"usage is grouped by {', '.join(Group)}, not by {name[:20]!r}")
    return frozenset(Group(name) for name in names)


def _tenant_id(session: Session, id_or_name: str | None) -> str | None:
    return None if id_or_name is None else find_tenant(session, id_or_name).id
