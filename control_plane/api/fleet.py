"""REST: the fleet at once, with what every card last reported, and the release that hosts can be given."""

from fastapi import APIRouter
from sqlmodel import Session

from control_plane.access import find_tenant
from control_plane.api.agent_schemas import AgentReadings
from control_plane.api.agents import Fleet
from control_plane.api.queries import list_agents
from control_plane.api.schemas import Response
from control_plane.identifiers import AgentId
from control_plane.install import Installation
from control_plane.store import Store
from control_plane.store.tables import Agent


class ReleaseResponse(Response):
    """What `daalu serve --artifacts` serves; it was verified when it was read."""

    version: str
    released_unix_ms: int
    # base64 of the release key's public half.
    release_key: str


def fleet_routes(store: Store, fleet: Fleet, installation: Installation | None) -> APIRouter:
    routes = APIRouter()

    @routes.get("/fleet")
    async def readings(tenant: str | None = None) -> list[AgentReadings]:
        """Agents that are not revoked, of one tenant or of all."""

        def query(session: Session) -> list[tuple[Agent, str]]:
            tenant_id = None if tenant is None else find_tenant(session, tenant).id
            return list_agents(session, tenant_id, revoked=False)

        found = await store.read(query)
        return [AgentReadings.of_row(row, name, fleet.status(AgentId(row.id))) for row, name in found]

    @routes.get("/release")
    async def release() -> ReleaseResponse | None:
        """The release that is served to hosts; null where there is none."""
        if installation is None:
            return None
        manifest = installation.release.manifest
        return ReleaseResponse(
            version=manifest.version,
            released_unix_ms=manifest.released_unix_s * 1000,
            release_key=installation.release.public_key,
        )

    return routes
