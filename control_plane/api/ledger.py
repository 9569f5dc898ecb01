"""REST: usage, credits, statements, and whether the books are in order. Amounts are pico-USD."""

from fastapi import APIRouter, Response
from sqlmodel import Session

from control_plane.access import OPERATOR, find_tenant
from control_plane.api.csv_table import Form, as_wanted
from control_plane.api.economy_schemas import PaidRequest, ReverseRequest, ReverseResponse
from control_plane.economy import (
    Broken,
    Credit,
    Statement,
    Usage,
    credits_of_cards,
    mark_paid,
    reverse,
    statements,
    usage,
    verify,
)
from control_plane.store import Store, unix_ms


def ledger_routes(store: Store) -> APIRouter:
    routes = APIRouter()

    @routes.get("/usage", response_model=list[Usage])
    async def used(
        tenant: str | None = None, month: str | None = None, form: Form = Form.JSON
    ) -> list[Usage] | Response:
        """What tenants used, by month, tier, pool and model."""
        rows = await store.read(
            lambda session: usage(session, tenant_id=_tenant_id(session, tenant), month=month)
        )
        return as_wanted(rows, Usage, form, "usage")

    @routes.get("/credits", response_model=list[Credit])
    async def earned(
        tenant: str | None = None, month: str | None = None, form: Form = Form.JSON
    ) -> list[Credit] | Response:
        """What cards earned, by month and account."""
        rows = await store.read(
            lambda session: credits_of_cards(session, tenant_id=_tenant_id(session, tenant), month=month)
        )
        return as_wanted(rows, Credit, form, "credits")

    @routes.get("/statements", response_model=list[Statement])
    async def owed(tenant: str | None = None, form: Form = Form.JSON) -> list[Statement] | Response:
        """What tenants owe, by month."""
        rows = await store.read(lambda session: statements(session, tenant_id=_tenant_id(session, tenant)))
        return as_wanted(rows, Statement, form, "statements")

    @routes.post("/statements/paid")
    async def paid(wanted: PaidRequest) -> Statement:
        """Marks a tenant's statement of a month paid, which makes the credit of its calls payable."""

        def unit(session: Session) -> Statement:
            tenant = find_tenant(session, wanted.tenant)
            return mark_paid(session, tenant.id, wanted.month, actor=OPERATOR, now_unix_ms=unix_ms())

        return await store.write(unit)

    @routes.post("/ledger/reverse")
    async def take_back(wanted: ReverseRequest) -> ReverseResponse:
        """Takes a settled call's charge and credit back. Nothing in the ledger is changed."""
        made = await store.write(lambda session: reverse(session, wanted.call, actor=OPERATOR))
        return ReverseResponse(transaction_id=made)

    @routes.get("/ledger/verify")
    async def verified() -> list[Broken]:
        """Checks every invariant of the books. What is broken; an empty list where nothing is."""
        return await store.read(verify)

    return routes


def _tenant_id(session: Session, id_or_name: str | None) -> str | None:
    return None if id_or_name is None else find_tenant(session, id_or_name).id
