"""What is on the "AI Factory" page, by role: read, worked out and rendered, for the page and for its feed."""

import asyncio
import logging
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlmodel import Session

from control_plane.api import AgentDetail, call_figures, not_served
from control_plane.console.card_queries import Halt, halts_of
from control_plane.console.chart import Chart, chart
from control_plane.console.door import Door
from control_plane.console.feed import Parts, Render
from control_plane.console.queries import (
    agent_of,
    agents_of,
    desired_model,
    has_served,
    lent_to,
    newest_invite,
    provider_pools,
)
from control_plane.console.rendering import Rendering
from control_plane.console.usage_queries import HOUR_MS, served_by_hour
from control_plane.console.viewer import Viewer
from control_plane.economy import Role, month_bounds, month_of, quota_standing
from control_plane.economy import Span as Moments
from control_plane.fleet import offers, pool_limits_of
from control_plane.fleet.telemetry import (
    Change,
    History,
    Kind,
    Reliability,
    Span,
    Wanted,
    read_changes,
    read_history,
    read_reliability,
)
from control_plane.identifiers import AgentId, TenantId
from control_plane.store import unix_ms
from control_plane.store.tables import Agent, Tenant

if TYPE_CHECKING:
    from control_plane.console.console import ConsoleParts

logger = logging.getLogger(__name__)

RANGES_MS = {"1h": HOUR_MS, "6h": 6 * HOUR_MS, "24h": 24 * HOUR_MS, "7d": 7 * 24 * HOUR_MS}
MOST_POINTS = 160
MOST_EVENTS = 12
# History moves slowly, and costs more to read and draw than all else on the page. So do a month's figures,
# which are exact, and summed over all of its calls.
HISTORY_EVERY_MS = 10_000
_TRENDS = {
    "temperature_celsius": ("Temperature", 100.0),
    "utilisation_percent": ("Utilisation", 100.0),
    "memory_used_bytes": ("Memory in use", None),
    "power_watts": ("Power", None),
    "clock_graphics_mhz": ("Graphics clock", None),
    "clock_memory_mhz": ("Memory clock", None),
}


@dataclass(frozen=True, slots=True)
class Wish:
    """Which agent, empty for the first, and how far back its trends go."""

    agent_id: str
    span: str


@dataclass(frozen=True, slots=True)
class _Event:
    at_unix_ms: int
    words: str


@dataclass(frozen=True, slots=True)
class _Past:
    """What was read of history, and for whom."""

    of: tuple[str, Role]
    read_ms: int
    trends: str
    # None: it cannot be read now.
    reliability: Reliability | None
    # To a provider: of its cards, by others.
    served: list[Any]


class FactoryParts:
    def __init__(self, parts: "ConsoleParts", door: Door, rendering: Rendering) -> None:
        self._parts = parts
        self._door = door
        self._rendering = rendering
        self._class_of = parts.card_classes.recognise

    async def find(self, tenant_id: TenantId, wish: Wish) -> tuple[Agent | None, list[Agent]]:
        """The agent to show and all there are. Raises Unknown, also for another tenant's."""

        def query(session: Session) -> tuple[Agent | None, list[Agent]]:
            every = agents_of(session, tenant_id)
            if wish.agent_id:
                return agent_of(session, tenant_id, wish.agent_id), every
            return (every[0] if every else None), every

        return await self._parts.store.read(query)

    async def page(self, viewer: Viewer, wish: Wish) -> dict[str, Any]:
        """Everything, the live parts as they are now; and what the forms need."""
        agent, every = await self.find(viewer.tenant_id, wish)
        forms: dict[str, Any] = {
            "offers": [],
            "lent_to": None,
            "pools": [],
            "desired": None,
            "limits": None,
            "simulated": False,
        }
        if agent is not None:
            agent_id = AgentId(agent.id)
            status = self._parts.fleet.status(agent_id)
            found = offers(
                [entry.model for entry in self._parts.catalogue], status.inventory if status else None
            )
            forms["offers"] = sorted(found, key=lambda offer: (not offer.fits, offer.model.model_id))
            # The engine of a simulated card runs on the processor: there no model is refused.
            forms["limits"] = pool_limits_of(agent)
            forms["simulated"] = status is not None and any(
                card.simulated for card in (status.inventory.cards if status.inventory else ())
            )

            def query(session: Session) -> dict[str, Any]:
                return {
                    "lent_to": lent_to(session, viewer.tenant_id, agent_id),
                    "pools": provider_pools(session),
                    # From the store: the fleet hears of a change a moment after it.
                    "desired": desired_model(session, viewer.tenant_id, agent_id),
                }

            forms |= await self._parts.store.read(query)
        live = await self.renderer(viewer.tenant_id, wish)()
        return {
            "live": live,
            "agent": agent,
            "agents": every,
            "span": wish.span,
            "ranges": list(RANGES_MS),
            **forms,
        }

    def renderer(self, tenant_id: TenantId, wish: Wish) -> Render:
        """Renders the live parts, for a feed: of the role as it is each time."""
        past: _Past | None = None
        figures, summed_ms = dict[str, Any](), 0

        async def render() -> Parts:
            nonlocal past, figures, summed_ms
            role, now = self._door.role_of(tenant_id), unix_ms()
            agent = None
            if role not in (Role.NONE, Role.CONSUMER):
                agent, _ = await self.find(tenant_id, wish)
            if agent is None:
                if now - summed_ms >= HISTORY_EVERY_MS:
                    figures, summed_ms = await self._figures(tenant_id, now), now
                # An owner without a card: it was revoked a moment ago, and the role follows.
                shown = role if role is Role.CONSUMER else Role.NONE
                return await self._without_cards(tenant_id, shown, figures)
            if past is None or past.of != (agent.id, role) or now - past.read_ms >= HISTORY_EVERY_MS:
                past = await self._past(agent, role, wish)
            return {**await self._with_cards(agent, role, past), "trends": past.trends}

        return render

    async def _figures(self, tenant_id: TenantId, now: int) -> dict[str, Any]:
        """How the calls of this month and of the last 24 hours went."""
        month, day = Moments(month_bounds(month_of(now))[0], now + 1), Moments(now - 24 * HOUR_MS, now + 1)

        def query(session: Session) -> dict[str, Any]:
            return {
                "month": call_figures(session, month, tenant_id=tenant_id),
                "day": call_figures(session, day, tenant_id=tenant_id),
                "not_served": not_served(session, month, tenant_id=tenant_id),
            }

        return await self._parts.store.read(query)

    async def _without_cards(self, tenant_id: TenantId, role: Role, figures: dict[str, Any]) -> Parts:
        now = unix_ms()

        def query(session: Session) -> dict[str, Any]:
            tenant = session.get_one(Tenant, tenant_id)
            return {
                "quotas": quota_standing(session, tenant, self._parts.economy.economy, now_unix_ms=now),
                "invite": newest_invite(session, tenant_id),
            }

        values = await self._parts.store.read(query)
        values |= {"role": role, "now": now, **figures}
        parts = {
            "head": self._render("head_without_cards", **values),
            "usage": self._render("usage", **values),
        }
        if role is Role.NONE:
            parts["enrolment"] = self._render("enrolment_waiting", **values)
        return parts

    async def _past(self, row: Agent, role: Role, wish: Wish) -> _Past:
        agent_id, tenant_id, now = AgentId(row.id), TenantId(row.tenant_id), unix_ms()
        try:
            reliability = await asyncio.to_thread(
                read_reliability, self._parts.telemetry, tenant_id, agent_id, now
            )
        except sqlite3.Error as error:
            logger.warning("%s cannot be read: %s", self._parts.telemetry, error)
            reliability = None
        served: list[Any] = []
        if role is Role.PROVIDER:
            day = Moments(now - 24 * HOUR_MS, now + 1)
            served = await self._parts.store.read(lambda session: served_by_hour(session, day, tenant_id))
        return _Past((row.id, role), now, await self._trends(row, wish), reliability, served)

    async def _with_cards(self, row: Agent, role: Role, past: _Past) -> Parts:
        agent_id, tenant_id = AgentId(row.id), TenantId(row.tenant_id)
        status = self._parts.fleet.status(agent_id)
        # The tenant's name is on the page already, and no part of what is shared.
        detail = AgentDetail.of_row(row, "", status, past.reliability)

        def query(session: Session) -> tuple[bool, list[Halt]]:
            return has_served(session, tenant_id, agent_id), halts_of(session, row)

        has_answered, halts = await self._parts.store.read(query)
        classes = []
        for card in detail.cards:
            name, memory = card.properties["name"].value, card.properties["memory_total_bytes"].value
            found = self._class_of(
                name if isinstance(name, str) else None,
                int(memory) if isinstance(memory, float) else None,
                None,
            )
            classes.append(found.name if found else "unknown card")
        values = {
            "detail": detail,
            "role": role,
            "classes": classes,
            "has_answered": has_answered,
            "served": past.served,
            "halts": halts,
            "closed": status.pool_closed if status else None,
        }
        names = ["head", "halts", "enrolment", "tiles", "health", "engine"]
        parts = {name: self._render(name, **values) for name in names}
        if role is Role.PROVIDER:
            parts["pool"] = self._render("pool", **values)
        return parts

    async def _trends(self, row: Agent, wish: Wish) -> str:
        end = unix_ms()
        span = (end - RANGES_MS[wish.span], end)
        agent_id, tenant_id = AgentId(row.id), TenantId(row.tenant_id)
        wanted = Wanted(tenant_id, agent_id, *span, MOST_POINTS)

        def read() -> tuple[History, list[Change]]:
            path = self._parts.telemetry
            return read_history(path, wanted), read_changes(path, tenant_id, agent_id, Span(*span))

        try:
            history, changes = await asyncio.to_thread(read)
        except sqlite3.Error as error:
            logger.warning("%s cannot be read: %s", self._parts.telemetry, error)
            return self._render("trends", cards=None, events=[], span=wish.span)
        events = _events(history, changes)
        marks = [event.at_unix_ms for event in events]
        cards = [
            (subject.index, subject.simulated, _charts(subject, span, marks))
            for subject in history.subjects
            if subject.index is not None
        ]
        return self._render("trends", cards=cards, events=events[:MOST_EVENTS], span=wish.span)

    def _render(self, name: str, **values: Any) -> str:
        return self._rendering.part(f"factory/{name}.html", **values)


def _charts(subject: Any, span: tuple[int, int], marks: list[int]) -> list[Chart]:
    return [
        chart(
            title,
            subject.values[name].reading.unit,
            subject.at_unix_ms,
            subject.values[name].mean,
            span=span,
            marks_unix_ms=marks,
            ceiling=ceiling,
        )
        for name, (title, ceiling) in _TRENDS.items()
        if name in subject.values
    ]


def _events(history: History, changes: list[Change]) -> list[_Event]:
    """Changes of health and presence, and where each throttling began. The newest first."""
    events = [
        _Event(change.at_unix_ms, f"{change.subject}: {change.state}. {change.words}".strip(". "))
        for change in changes
    ]
    for subject in history.subjects:
        for values in subject.values.values():
            if values.reading.kind is not Kind.FLAGS:
                continue
            before: list[str] = []
            for at_unix_ms, reasons in zip(subject.at_unix_ms, values.flags, strict=True):
                new = [each for each in reasons or [] if each not in before and each != "idle"]
                if new:
                    words = ", ".join(each.replace("_", " ") for each in new)
                    events.append(_Event(at_unix_ms, f"card {subject.index} slowed down: {words}"))
                before = reasons or []
    return sorted(events, key=lambda event: -event.at_unix_ms)
