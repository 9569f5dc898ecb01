"""REST: providers' cards whose engines' claims exceed what was counted."""

from fastapi import APIRouter
from sqlmodel import Session

from control_plane.access import OPERATOR
from control_plane.api.economy_schemas import FlagResponse
from control_plane.api.queries import find_agent
from control_plane.economy import clear_flag, list_flags
from control_plane.store import Store, unix_ms
from control_plane.store.economy_tables import ProviderFlag


def provider_routes(store: Store) -> APIRouter:
    routes = APIRouter()

    @routes.get("/providers/flags")
    async def flags(all: bool = False) -> list[FlagResponse]:  # noqa: A002  # the query's name
        """Cards that claimed more tokens than were counted. `all`: also those that were cleared."""
        found = await store.read(lambda session: list_flags(session, cleared=all))
        return [_response(flag, name) for flag, name in found]

    @routes.post("/providers/{agent}/clear")
    async def clear(agent: str) -> FlagResponse:
        """Clears a card's flag, which lets its credit be paid again."""

        def unit(session: Session) -> FlagResponse:
            found, _ = find_agent(session, agent)
            flag = clear_flag(session, found, actor=OPERATOR, now_unix_ms=unix_ms())
            return _response(flag, found.name)

        return await store.write(unit)

    return routes


def _response(flag: ProviderFlag, agent_name: str) -> FlagResponse:
    return FlagResponse(agent_name=agent_name, **flag.model_dump())
