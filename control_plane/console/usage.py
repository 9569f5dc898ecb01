"""The "Usage & Pricing" page: what a tenant used, owes, saved and earned in a month, and what things cost."""

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from sqlmodel import Session

from control_plane.access import Unknown
from control_plane.api import Form, as_wanted
from control_plane.console.bars import Bar, bars
from control_plane.console.door import Door
from control_plane.console.pages import USAGE
from control_plane.console.rendering import Rendering
from control_plane.console.usage_months import Month, choices, month_wanted
from control_plane.console.usage_queries import (
    agent_names,
    earned_by_month,
    past_quotas,
    price_books,
)
from control_plane.console.usage_sections import Section, sections_of
from control_plane.console.usage_tables import TABLES, Asked, Table, quota, spend
from control_plane.console.viewer import Viewer
from control_plane.economy import (
    DAY_MS,
    Group,
    Role,
    Spend,
    credits_of_cards,
    day_text,
    savings,
    statements,
)
from control_plane.store import unix_ms
from control_plane.store.tables import Tenant

if TYPE_CHECKING:
    from control_plane.console.console import ConsoleParts


def usage_routes(parts: "ConsoleParts", door: Door, rendering: Rendering) -> APIRouter:
    routes = APIRouter()

    @routes.get(USAGE.path)
    async def page(request: Request, month: str = "") -> Response:
        viewer = await door.viewer(request, USAGE)
        now = unix_ms()
        wanted = month_wanted(month, now_unix_ms=now)

        def query(session: Session) -> dict[str, Any]:
            return _figures(Asked(session, parts.economy.economy, viewer.tenant_id, wanted), viewer, now)

        values = await parts.store.read(query)
        return rendering.page(viewer, USAGE, "usage.html", month=wanted, now=now, **values)

    def file(name: str, table: Table) -> None:
        # A route for each: what there is can be told from the table of routes.
        @routes.get(f"{USAGE.path}/{name}.csv")
        async def csv(request: Request, month: str = "") -> Response:
            viewer = await door.viewer(request, USAGE)
            wanted = month_wanted(month, now_unix_ms=unix_ms())

            def query(session: Session) -> list[object]:
                if table.section not in _sections(session, viewer):
                    raise Unknown("table", name)
                return table.rows(Asked(session, parts.economy.economy, viewer.tenant_id, wanted))

            answer = as_wanted(await parts.store.read(query), table.row_type, Form.CSV, name)
            assert isinstance(answer, Response)  # noqa: S101 - the form was asked for
            return answer

    for name, table in TABLES.items():
        file(name, table)
    return routes


def _sections(session: Session, viewer: Viewer) -> frozenset[Section]:
    earned = viewer.role is Role.PROVIDER or bool(credits_of_cards(session, tenant_id=viewer.tenant_id))
    return sections_of(viewer.role, has_credits=earned)


def _figures(asked: Asked, viewer: Viewer, now_unix_ms: int) -> dict[str, Any]:
    """All that is on the page, by one look at the store."""
    session, tenant_id, month = asked.session, asked.tenant_id, asked.month
    earned = credits_of_cards(session, tenant_id=tenant_id)
    sections = sections_of(viewer.role, has_credits=bool(earned))
    tenant = session.get_one(Tenant, tenant_id)
    by_day = spend(asked, Group.DAY)
    return {
        "sections": sections,
        "choices": choices(since_unix_ms=tenant.created_unix_ms, now_unix_ms=now_unix_ms),
        "by": {str(group): spend(asked, group) for group in (Group.TIER, Group.MODEL, Group.KEY)}
        | {"day": by_day},
        "charts": _charts(by_day, month),
        "quotas": quota(asked) if month.is_current else [],
        "past_quotas": [] if month.is_current else past_quotas(session, tenant_id, month.text),
        "savings": savings(session, month.span, tenant_id=tenant_id) if Section.SAVINGS in sections else [],
        "earned": earned_by_month(earned),
        "cards": [each for each in earned if each.month == month.text],
        "agent_names": agent_names(session, tenant_id),
        "statements": statements(session, tenant_id=tenant_id),
        "books": price_books(asked.economy, tenant_id, now_unix_ms),
    }


def _charts(by_day: list[Spend], month: Month) -> list[tuple[str, list[Bar]]]:
    """Tokens and charges of every day of the month, those without a call too."""
    days = {each.day: each for each in by_day}
    span = month.span
    names = [day_text(at // DAY_MS) for at in range(span.since_unix_ms, span.until_unix_ms, DAY_MS)]

    def of(amount: Any) -> list[Bar]:
        return bars([(name, amount(days[name]) if name in days else 0) for name in names])

    return [
        ("tokens", of(lambda each: each.prompt_tokens + each.completion_tokens)),
        ("spend", of(lambda each: each.charge_pico_usd - each.reversed_pico_usd)),
    ]
