"""REST: agents, with what the fleet knows of them now. An agent is named by its id, or by its name where
only one tenant has an agent of that name."""

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from fastapi import APIRouter
from sqlmodel import Session

from control_plane.access import OPERATOR, find_tenant
from control_plane.api.agent_schemas import AgentDetail, AgentSummary
from control_plane.api.queries import find_agent, list_agents
from control_plane.api.schemas import DeployRequest, InviteRequest, InviteResponse
from control_plane.fleet import AgentStatus, PoolLimits
from control_plane.fleet.telemetry import Reliability, read_reliability
from control_plane.identifiers import AgentId, TenantId
from control_plane.install import Installation
from control_plane.store import Store, unix_ms
from control_plane.store.tables import Agent, Tenant

logger = logging.getLogger(__name__)

# A tenant's id to an invite's text and the time when it expires, Unix milliseconds.
CreateInvite = Callable[[str], Awaitable[tuple[str, int]]]


class Fleet(Protocol):
    """What these routes need of the fleet."""

    def status(self, agent_id: AgentId) -> AgentStatus | None: ...

    async def deploy(self, agent_id: AgentId, model_id: str | None, actor: str) -> None: ...

    async def set_drained(self, agent_id: AgentId, actor: str, *, drained: bool) -> None: ...

    async def set_pool_paused(self, agent_id: AgentId, actor: str, *, paused: bool) -> None: ...

    async def set_pool_limits(
        self, agent_id: AgentId, change: Callable[[PoolLimits], PoolLimits], actor: str
    ) -> PoolLimits: ...


def agent_routes(
    store: Store,
    fleet: Fleet,
    create_invite: CreateInvite,
    revoke: Callable[[AgentId, str], Awaitable[None]],
    telemetry: Path,
    installation: Installation | None = None,
) -> APIRouter:
    """`telemetry`: the file of its history."""
    routes = APIRouter()

    async def shown(id_or_name: str) -> AgentDetail:
        agent, tenant_name = await store.read(lambda session: find_agent(session, id_or_name))
        reliability = await _reliability(telemetry, agent)
        return AgentDetail.of_row(agent, tenant_name, fleet.status(AgentId(agent.id)), reliability)

    async def identified(id_or_name: str) -> AgentId:
        agent, _ = await store.read(lambda session: find_agent(session, id_or_name))
        return AgentId(agent.id)

    @routes.get("/agents")
    async def agents(tenant: str | None = None, *, revoked: bool = False) -> list[AgentSummary]:
        """Agents, of one tenant or of all. `revoked`: those too."""

        def query(session: Session) -> list[tuple[Agent, str]]:
            tenant_id = None if tenant is None else find_tenant(session, tenant).id
            return list_agents(session, tenant_id, revoked=revoked)

        found = await store.read(query)
        return [AgentSummary.of_row(row, name, fleet.status(AgentId(row.id))) for row, name in found]

    @routes.post("/agents/invite", status_code=201)
    async def invite(wanted: InviteRequest) -> InviteResponse:
        """Makes an invite, good once and for an hour. With a release served, also the line that installs."""

        def query(session: Session) -> Tenant:
            return find_tenant(session, wanted.tenant)

        tenant = await store.read(query)
        text, expires_unix_ms = await create_invite(tenant.id)
        return InviteResponse.of(tenant.id, text, expires_unix_ms, installation)

    @routes.get("/agents/{agent}")
    async def agent(agent: str) -> AgentDetail:
        """One agent: host, cards, engine, findings with advice, reliability."""
        return await shown(agent)

    @routes.post("/agents/{agent}/revoke")
    async def revoke_agent(agent: str) -> AgentDetail:
        """Ends an agent's traffic within 2 s and refuses its keys ever after."""
        await revoke(await identified(agent), OPERATOR)
        return await shown(agent)

    @routes.post("/agents/{agent}/deploy", status_code=202)
    async def deploy(agent: str, wanted: DeployRequest) -> AgentDetail:
        """Wants a model on an agent. `model` is an id of the catalogue; the agent's own copy decides."""
        await fleet.deploy(await identified(agent), wanted.model, OPERATOR)
        return await shown(agent)

    @routes.post("/agents/{agent}/stop", status_code=202)
    async def stop(agent: str) -> AgentDetail:
        """Wants no model on an agent."""
        await fleet.deploy(await identified(agent), None, OPERATOR)
        return await shown(agent)

    @routes.post("/agents/{agent}/drain", status_code=202)
    async def drain(agent: str) -> AgentDetail:
        """Takes no new calls to an agent; those in flight end."""
        await fleet.set_drained(await identified(agent), OPERATOR, drained=True)
        return await shown(agent)

    @routes.post("/agents/{agent}/resume", status_code=202)
    async def resume(agent: str) -> AgentDetail:
        """Ends draining."""
        await fleet.set_drained(await identified(agent), OPERATOR, drained=False)
        return await shown(agent)

    @routes.post("/agents/{agent}/pause-pool")
    async def pause_pool(agent: str) -> AgentDetail:
        """Takes no new calls of pools to an agent; its owner's go on."""
        await fleet.set_pool_paused(await identified(agent), OPERATOR, paused=True)
        return await shown(agent)

    @routes.post("/agents/{agent}/resume-pool")
    async def resume_pool(agent: str) -> AgentDetail:
        """Ends the pause of pool work."""
        await fleet.set_pool_paused(await identified(agent), OPERATOR, paused=False)
        return await shown(agent)

    return routes


async def _reliability(path: Path, agent: Agent) -> Reliability | None:
    """None: what else is known of the agent is worth showing without it."""
    try:
        return await asyncio.to_thread(
            read_reliability, path, TenantId(agent.tenant_id), AgentId(agent.id), unix_ms()
        )
    except sqlite3.Error as error:
        logger.warning("%s cannot be read: %s", path, error)
        return None
