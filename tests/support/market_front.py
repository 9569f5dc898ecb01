"""A gateway in front of a market: pools over scripted engines, and their books at hand."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from sqlmodel import select

from control_plane.economy import verify
from control_plane.fleet import AgentView
from control_plane.gateway import Limits
from control_plane.store import Store
from control_plane.store.economy_tables import QuotaMonth, UsageRecord
from tests.support.gateway import OTHER_KEY, Front, serving
from tests.support.gateway_engine import Script, ScriptedEngine, scripted_engine
from tests.support.market import EventCounting, Terms, open_market, operators_card, providers_card


@dataclass
class Market:
    front: Front
    hosted: ScriptedEngine
    lent: ScriptedEngine

    async def post(self, body: dict[str, Any], key: str = OTHER_KEY) -> httpx2.Response:
        async with httpx2.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=20) as http:
            return await http.post(f"{self.front.url}/v1/chat/completions", json=body)

    async def read(self, model: Any) -> list[Any]:
        return await self.front.store.read(lambda session: list(session.exec(select(model))))

    async def usage(self) -> UsageRecord:
        [record] = await self.read(UsageRecord)
        assert isinstance(record, UsageRecord)
        return record

    async def quota(self) -> tuple[int, int]:
        """Used and held tokens of the consumer's month."""
        [row] = await self.read(QuotaMonth)
        return row.used_tokens, row.held_tokens

    async def assert_books_are_in_order(self) -> None:
        assert await self.front.store.read(verify) == []


@asynccontextmanager
async def market(
    store: Store,
    terms: Terms | None = None,
    *,
    scripts: tuple[Script, ...] = (),
    hosted: bool = True,
    lent: bool = True,
    changes: dict[str, Any] | None = None,
    limits: Limits | None = None,
    counting: EventCounting | None = None,
) -> AsyncIterator[Market]:
    """`scripts` are those of the one card that is lent or, without it, of the hosted one."""
    async with AsyncExitStack() as stack:
        lent_engine = await stack.enter_async_context(scripted_engine(*(scripts if lent else ())))
        hosted_engine = await stack.enter_async_context(scripted_engine(*(() if lent else scripts)))
        agents: list[AgentView] = []
        if lent:
            agents.append(providers_card(lent_engine.port, **(changes or {})))
        if hosted:
            agents.append(operators_card(hosted_engine.port, **(changes or {})))
        front = await stack.enter_async_context(
            serving(store, *agents, limits=limits, counting=counting or EventCounting())
        )
        open_market(store, tuple(agents), terms)
        await front.economy.refresh()
        made = Market(front, hosted_engine, lent_engine)
        yield made
        await made.assert_books_are_in_order()
