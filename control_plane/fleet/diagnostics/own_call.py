"""One call of the smallest kind over the route that users take, with a key that is bound to one card."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from sqlmodel import Session

from control_plane.access import NewKey, Temporary, create_key, revoke_key
from control_plane.identifiers import AgentId
from control_plane.store import Store, unix_ms
from control_plane.store.tables import Agent, Purpose, Tenant

# The key of a process that is gone is good for no longer than this.
LIFE_MS = 60_000
TIMEOUT_S = 25.0
MAX_TOKENS = 8
MAX_SAID_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Route:
    """Where users call, and what is trusted there beside the system's authorities."""

    base_url: str
    certificate: Path
    # Makes a change of keys known to this process.
    refresh: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Answered:
    status: int
    call_id: str | None
    tier: str | None
    # Of the body: what the model said, or the error.
    said: str


class NotAnswered(Exception):
    """No HTTP answer came; the message says why."""


@asynccontextmanager
async def leased_key(store: Store, route: Route, agent_id: AgentId, actor: str) -> AsyncIterator[str]:
    """A key of the agent's tenant that calls this agent alone; no good any more after the block."""

    def create(session: Session) -> NewKey:
        tenant = session.get_one(Tenant, session.get_one(Agent, agent_id).tenant_id)
        lease = Temporary(unix_ms() + LIFE_MS, agent_id)
        return create_key(
            session, tenant=tenant, name="self-test", purpose=Purpose.GENERAL, actor=actor, temporary=lease
        )

    key = await store.write(create)
    try:
        await route.refresh()
        yield key.text
    finally:
        await store.write(lambda session: revoke_key(session, key_id=key.row.id, actor=actor))
        await route.refresh()


async def call(route: Route, key: str, model: str, *, embeds: bool) -> Answered:
    """Raises NotAnswered."""
    path, body = ("/v1/embeddings", {"input": "ping"}) if embeds else ("/v1/chat/completions", _CHAT)
    trust = ssl.create_default_context()
    trust.load_verify_locations(route.certificate)
    try:
        # No proxy of the environment: the route is the one that is named.
        async with httpx2.AsyncClient(
            base_url=route.base_url, verify=trust, timeout=TIMEOUT_S, trust_env=False
        ) as client:
            answer = await client.post(
                path, json={"model": model} | body, headers={"authorization": f"Bearer {key}"}
            )
    except httpx2.HTTPError as error:
        raise NotAnswered(f"{route.base_url}{path}: {str(error) or type(error).__name__}") from error
    return Answered(
        answer.status_code,
        answer.headers.get("x-daalu-call-id"),
        answer.headers.get("x-daalu-tier"),
        answer.text[:MAX_SAID_CHARACTERS],
    )


_CHAT: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Say hello."}],
    "max_tokens": MAX_TOKENS,
    "temperature": 0,
}
