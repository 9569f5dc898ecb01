"""A gateway over scripted engines: a store, a tenant with keys, agents, and an ASGI server on loopback."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from sqlmodel import col, select

from control_plane.access import Principal
from control_plane.api import Listener, plain_listener
from control_plane.catalogue import ModelNames
from control_plane.config import Address
from control_plane.economy import EconomyIndex
from control_plane.fleet import AgentView, EngineView, FleetView, Liveness, TicketKey
from control_plane.gateway import Gateway, Limits, NoCounting, Rooms
from control_plane.gateway.ports import Counting
from control_plane.identifiers import AgentId, ApiKeyId, TenantId
from control_plane.metrics import Meters
from control_plane.store import Store
from control_plane.store.tables import Agent, ApiKey, Attempt, Call, Purpose, Tenant
from control_plane.vendors import Vendors

TENANT = TenantId("ten-a")
OTHER_TENANT = TenantId("ten-b")
KEY = "daalu-key-general"
CODING_KEY = "daalu-key-coding"
# Of OTHER_TENANT.
OTHER_KEY = "daalu-key-of-another"
OTHER_CODING_KEY = "daalu-key-of-another-coding"
TICKET_KEY = TicketKey(3, b"k" * 32)


def engine_view(**changes: Any) -> EngineView:
    view = EngineView(
        model_id="tiny-random-llama",
        served_name="tiny",
        ready=True,
        draining=False,
        context_tokens=8192,
        running_calls=0,
        waiting_calls=0,
        max_running_calls=16,
        detail="",
    )
    return replace(view, **changes)


def agent_view(name: str, port: int = 1, **changes: Any) -> AgentView:
    view = AgentView(
        agent_id=AgentId(f"agt-{name}"),
        tenant_id=TENANT,
        name=name,
        host="127.0.0.1",
        engine_port=port,
        liveness=Liveness.LIVE,
        engine=engine_view(),
        simulated=True,
    )
    return replace(view, **changes)


def fleet_view(*agents: AgentView) -> FleetView:
    by_tenant: dict[TenantId, tuple[AgentView, ...]] = {}
    for agent in agents:
        by_tenant[agent.tenant_id] = (*by_tenant.get(agent.tenant_id, ()), agent)
    return FleetView({agent.agent_id: agent for agent in agents}, by_tenant)


NAMES = ModelNames({"tiny-random-llama": "tiny", "alias-of-tiny": "tiny"})


class FixedFleet:
    """The fleet's face towards the gateway, with a view that tests replace."""

    def __init__(self, *agents: AgentView) -> None:
        self.view = fleet_view(*agents)
        self.lost: list[Callable[[AgentId, str], None]] = []

    def ticket_key(self, agent_id: AgentId) -> TicketKey:
        assert agent_id in self.view.by_id
        return TICKET_KEY

    def on_lost(self, callback: Callable[[AgentId, str], None]) -> None:
        self.lost.append(callback)

    def lose(self, name: str, reason: str) -> None:
        for callback in self.lost:
            callback(AgentId(f"agt-{name}"), reason)


_KEYS = {
    KEY: (TENANT, Purpose.GENERAL),
    CODING_KEY: (TENANT, Purpose.CODING),
    OTHER_KEY: (OTHER_TENANT, Purpose.GENERAL),
    OTHER_CODING_KEY: (OTHER_TENANT, Purpose.CODING),
}


def key_id(tenant_id: TenantId, purpose: Purpose) -> ApiKeyId:
    return ApiKeyId(f"key-{purpose}" if tenant_id == TENANT else f"key-{tenant_id}-{purpose}")


class FixedAccess:
    """Two keys of each of two tenants."""

    def authenticate(self, token: str) -> Principal | None:
        if token not in _KEYS:
            return None
        tenant_id, purpose = _KEYS[token]
        return Principal(tenant_id, "acme", key_id(tenant_id, purpose), purpose)


def fill(store: Store, agents: Sequence[AgentView]) -> None:
    """The rows that calls refer to."""
    for tenant in {TENANT, OTHER_TENANT, *(agent.tenant_id for agent in agents)}:
        row = Tenant(id=tenant, name=tenant, created_unix_ms=1)
        store.write_now(lambda session, row=row: session.add(row))  # type: ignore[misc]
    rows: list[Any] = [
        ApiKey(
            id=key_id(tenant_id, purpose),
            tenant_id=tenant_id,
            name=purpose,
            hint="daalu",
            hash_sha256=token.encode(),
            purpose=purpose,
            created_unix_ms=1,
        )
        for token, (tenant_id, purpose) in _KEYS.items()
    ]
    rows += [
        Agent(
            id=agent.agent_id,
            tenant_id=agent.tenant_id,
            name=agent.name,
            connection="direct",
            rpc_port=1,
            engine_port=agent.engine_port,
            wireguard_public_key=agent.name,
            tls_key_sha256=agent.name.encode(),
            certificate_pem="",
            certificate_expires_unix_ms=1,
            agent_version="0",
            created_unix_ms=1,
        )
        for agent in agents
    ]
    store.write_now(lambda session: session.add_all(rows))


@dataclass
class Front:
    """A gateway that serves on loopback."""

    url: str
    gateway: Gateway
    fleet: FixedFleet
    store: Store
    economy: EconomyIndex
    listener: Listener
    fallback_paths: list[str]

    async def calls(self) -> list[Call]:
        return await self.store.read(lambda session: list(session.exec(select(Call).order_by(col(Call.id)))))

    async def attempts(self) -> list[Attempt]:
        statement = select(Attempt).order_by(col(Attempt.call_id), col(Attempt.number))
        return await self.store.read(lambda session: list(session.exec(statement)))

    async def only_call(self, *, ended: bool = True) -> Call:
        """The one call on record, once it has ended."""
        async with asyncio.timeout(5):
            while True:
                calls = await self.calls()
                if len(calls) == 1 and (not ended or calls[0].outcome != "running"):
                    return calls[0]
                assert len(calls) <= 1
                await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(
    store: Store,
    *agents: AgentView,
    limits: Limits | None = None,
    counting: Counting | None = None,
    vendors: Vendors | None = None,
    rows: bool = True,
    processes: Callable[[], int] = lambda: 1,
    meters: Meters | None = None,
) -> AsyncIterator[Front]:
    """The economy is the store's, read again with `front.economy.refresh()`. `rows`: writes those that calls
    refer to; where another gateway serves from the same store they are there."""
    if rows:
        fill(store, agents)
    fleet = FixedFleet(*agents)
    economy = EconomyIndex(store)
    await economy.refresh()
    rooms = Rooms(FixedAccess(), fleet, economy, counting or NoCounting(), NAMES, vendors or Vendors())
    paths: list[str] = []

    async def fallback(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        paths.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    gateway = Gateway(store, rooms, secret=b"s" * 32, limits=limits, processes=processes, meters=meters)
    # The socket is bound and listening from here on: who connects early waits.
    listener = plain_listener(fallback, Address("127.0.0.1", 0), gateway)
    running = asyncio.create_task(gateway.run())
    accepting = asyncio.create_task(listener.run_until_stopped())
    try:
        yield Front(f"http://{listener.address}", gateway, fleet, store, economy, listener, paths)
    finally:
        listener.stop()
        await accepting
        running.cancel()
        await asyncio.wait([running])
