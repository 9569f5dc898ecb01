"""The front door: answers everything under /v1."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from control_plane.access import Principal
from control_plane.catalogue import ModelNames
from control_plane.economy import LimitTable
from control_plane.fleet import Liveness
from control_plane.fleet.load_test import MeasuredLimit
from control_plane.gateway.book import Book
from control_plane.gateway.calls import JSON_TYPE, serve
from control_plane.gateway.dispatch import CardDispatch
from control_plane.gateway.errors import ClientGone, Condition, Refusal
from control_plane.gateway.exchange import Exchange, RequestHead, Wire
from control_plane.gateway.headers import RequestHeaders, read_headers
from control_plane.gateway.holds import Reserving
from control_plane.gateway.limits import Limits
from control_plane.gateway.models import list_body, model_objects, reachable_models
from control_plane.gateway.parts import Parts
from control_plane.gateway.pool import Pool
from control_plane.gateway.ports import Access, Client, Counting, Economy, Fleet
from control_plane.gateway.request import (
    CHAT_COMPLETIONS,
    INFERENCE_PATHS,
    InferenceRequest,
    read_request,
)
from control_plane.gateway.streams import InFlight
from control_plane.gateway.surfaces import SURFACES, SurfaceClient, nothing_here, surface_of
from control_plane.gateway.vendor_dispatch import VendorDispatch
from control_plane.identifiers import AgentId, TenantId
from control_plane.metrics import Meters, NoMeters
from control_plane.router import Breakers, RetryBudget
from control_plane.store import Store, unix_ms
from control_plane.store.tables import Purpose
from control_plane.vendors import Vendors

logger = logging.getLogger(__name__)

MODELS_PATH = "/v1/models"
SWEEP_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Rooms:
    """What the gateway needs of the others."""

    access: Access
    fleet: Fleet
    economy: Economy
    counting: Counting
    names: ModelNames
    vendors: Vendors
    # What load tests measured, as of now.
    measured: Callable[[], Mapping[AgentId, MeasuredLimit]] = dict


class Gateway:
    """One per process. run() is to run beside the server for as long as it serves."""

    def __init__(
        self,
        store: Store,
        rooms: Rooms,
        *,
        secret: bytes,
        limits: Limits | None = None,
        processes: Callable[[], int] = lambda: 1,
        meters: Meters | None = None,
    ) -> None:
        """`secret` keys the salts of engines' prefix caches.

        `processes`: how many gateways share the limits per minute, this one included.
        """
        self._limits = limits or Limits()
        self._rooms = rooms
        self._book = Book(store, self._limits)
        self._in_flight = InFlight(self._limits.recent_byte_s)
        self._pool = Pool(self._limits)
        self._at_vendors = VendorDispatch(rooms.vendors, self._limits)
        self._owned: set[asyncio.Task[Any]] = set()
        self._calls = 0
        self._calls_of: dict[TenantId, int] = {}
        self._parsing = asyncio.Semaphore(self._limits.parse_at_once)
        self._started_unix_s = int(time.time())
        self._parts = Parts(
            reserving=Reserving(self._book, LimitTable(), processes),
            fleet=rooms.fleet,
            economy=rooms.economy,
            measured=rooms.measured,
            counting=rooms.counting,
            names=rooms.names,
            vendors=rooms.vendors,
            cards=CardDispatch(rooms.fleet, self._pool, secret),
            at_vendors=self._at_vendors,
            in_flight=self._in_flight,
            breakers=Breakers(),
            retries=RetryBudget(),
            limits=self._limits,
            meters=meters or NoMeters(),
            own=self._own,
        )
        rooms.fleet.on_lost(self.cut)

    def cut(self, agent_id: AgentId, reason: str) -> None:
        """Ends an agent's streams: "revoked" all of them, else those that have gone silent."""
        if ended := self._in_flight.cut(agent_id, reason):
            logger.warning("agent %s was lost (%s): %d answers ended", agent_id, reason, ended)
        self._parts.breakers.forget(agent_id)

    def _cut_silent(self) -> None:
        # A stream that still had a recent byte when its agent went out may fall silent after that.
        fleet = self._parts.fleet.view.by_id
        for agent_id in self._in_flight.carrying:
            agent = fleet.get(agent_id)
            if agent is not None and agent.liveness is Liveness.OUT:
                self.cut(agent_id, "out")

    @property
    def unwritten_calls_count(self) -> int:
        """Calls whose record the store has not taken yet."""
        return self._book.unwritten_count

    @property
    def calls_count(self) -> int:
        """Calls under way, those included whose request is still coming."""
        return self._calls

    async def run(self) -> None:
        """Closes idle connections, ends answers of agents that stay lost and catches up on unwritten records,
        until cancelled; then waits for the settlements under way."""
        loop = asyncio.get_running_loop()
        catch_up_at = loop.time()
        try:
            while True:
                self._pool.sweep()
                self._at_vendors.sweep()
                self._cut_silent()
                if loop.time() >= catch_up_at:
                    await self._book.catch_up()
                    catch_up_at = loop.time() + self._limits.catch_up_every_s
                await asyncio.sleep(SWEEP_EVERY_S)
        finally:
            await self._finish()

    def takes(self, path: str) -> bool:
        """Whether requests for `path` are this gateway's to answer."""
        return path.startswith("/v1/") or path == "/v1"

    def exchange(self, head: RequestHead, wire: Wire, *, keep_alive: bool) -> Exchange:
        """One request on a connection, to be run()."""
        return Exchange(head, wire, self._limits, self._serve, keep_alive=keep_alive)

    async def _serve(self, exchange: Exchange) -> None:
        surface = surface_of(exchange.path)
        client: Client = exchange if surface is None else SurfaceClient(exchange, surface)
        await self._answered(exchange.path, client, self._answer(exchange, client))

    def converse(
        self, principal: Principal, declared: Purpose, raw: bytes, client: Client
    ) -> "asyncio.Task[None]":
        """A chat completion that a page of our own asks for: in all but its transport as any other call of
        the principal's, refusals too. Goes on until it is settled, whoever waits; `client` ends it by being
        gone."""

        async def work() -> None:
            with self._counted(principal):
                request = await self._read(partial(read_request, CHAT_COMPLETIONS), raw)
                await serve(self._parts, principal, _purpose(principal, declared), request, client)

        return self._own(self._answered(CHAT_COMPLETIONS, client, work()))

    async def _answered(self, path: str, client: Client, work: Awaitable[None]) -> None:
        try:
            await work
        except Refusal as refusal:
            await self._refuse(client, refusal)
        except ClientGone:
            logger.debug("a client went away")
        except Exception:
            logger.exception("a request to %s failed in the gateway itself", path)
            if not client.started:
                message = "the gateway failed; this is not your fault"
                await self._refuse(client, Refusal(Condition.INTERNAL, message))

    async def _answer(self, exchange: Exchange, client: Client) -> None:
        """`client`: the exchange's, which may be one that translates."""
        headers = read_headers(exchange.headers)
        path, method = exchange.path, exchange.method
        if path in INFERENCE_PATHS or path in SURFACES:
            _allow(method, "POST")
            await self._infer(self._authenticate(headers), headers, exchange, client)
        elif path == MODELS_PATH or path.startswith(MODELS_PATH + "/"):
            _allow(method, "GET")
            await self._models(path, self._authenticate(headers), client)
        elif (surface := surface_of(path)) is not None:
            raise nothing_here(surface)
        else:
            raise Refusal(Condition.UNKNOWN_PATH, f"there is no {method} {path[:200]} here")

    async def _infer(
        self, principal: Principal, headers: RequestHeaders, exchange: Exchange, client: Client
    ) -> None:
        purpose = _purpose(principal, headers.purpose)
        with self._counted(principal):
            body = await exchange.body(headers.content_length)
            read = client.read if isinstance(client, SurfaceClient) else partial(read_request, exchange.path)
            request = await self._read(read, body)
            del body
            await serve(self._parts, principal, purpose, request, client)

    @contextmanager
    def _counted(self, principal: Principal) -> Iterator[None]:
        """Raises Refusal where as many calls are under way as may be."""
        if self._calls >= self._limits.calls_at_once:
            message = "too many calls are being served; try again in a moment"
            raise Refusal(Condition.OVERLOADED, message, headers={"retry-after": "2"})
        of_tenant = self._calls_of.get(principal.tenant_id, 0)
        if of_tenant >= self._limits.calls_at_once_of_a_tenant:
            message = f"{of_tenant} calls of yours are being served; wait for some of them to end"
            raise Refusal(Condition.RATE_LIMITED, message, headers={"retry-after": "2"})
        self._calls += 1
        self._calls_of[principal.tenant_id] = of_tenant + 1
        try:
            yield
        finally:
            self._calls -= 1
            self._calls_of[principal.tenant_id] -= 1
            if not self._calls_of[principal.tenant_id]:
                del self._calls_of[principal.tenant_id]

    async def _read(self, read: Callable[[bytes], InferenceRequest], body: bytes) -> InferenceRequest:
        if len(body) <= self._limits.parse_inline_bytes:
            return read(body)
        async with self._parsing:
            return await asyncio.to_thread(read, body)

    def models_of(self, tenant_id: TenantId) -> dict[str, int]:
        """What a tenant can reach now: served names with the largest context of a call to each."""
        parts = self._parts
        return reachable_models(
            parts.fleet.view,
            parts.economy,
            parts.vendors,
            parts.counting.models,
            tenant_id,
            unix_ms(),
        )

    async def _models(self, path: str, principal: Principal, client: Client) -> None:
        models = model_objects(self.models_of(principal.tenant_id), self._started_unix_s)
        if path == MODELS_PATH:
            await _send_json(client, 200, list_body(models))
            return
        wanted = path.removeprefix(MODELS_PATH + "/")
        for model in models:
            if model["id"] == wanted:
                await _send_json(client, 200, orjson.dumps(model))
                return
        message = f"the model {wanted[:200]!r} does not exist or nothing that you may use serves it now"
        raise Refusal(Condition.MODEL_NOT_FOUND, message, param="model")

    def _authenticate(self, headers: RequestHeaders) -> Principal:
        token = headers.api_key
        if headers.authorization is not None:
            scheme, _, credentials = headers.authorization.partition(" ")
            token = credentials.strip() if scheme.lower() == "bearer" else ""
        principal = self._rooms.access.authenticate(token) if token else None
        if principal is None:
            given = token is not None
            message = (
                "the API key is not valid, or was revoked"
                if given
                else "no API key: send it as 'Authorization: Bearer <key>', or as 'x-api-key: <key>'"
            )
            raise Refusal(Condition.NO_KEY, message, headers={"www-authenticate": "Bearer"})
        return principal

    async def _refuse(self, client: Client, refusal: Refusal) -> None:
        if "x-daalu-call-id" not in refusal.headers:
            # Of a call it has been told when the call was settled.
            self._parts.meters.refused(None, refusal.code)
        extra = [(name.encode(), value.encode()) for name, value in refusal.headers.items()]
        extra.append((b"x-daalu-fall-through", refusal.condition.value.fall_through.encode()))
        with suppress(ClientGone):
            await _send_json(client, refusal.status, refusal.body(), extra)

    def _own(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        task = asyncio.create_task(work)
        self._owned.add(task)
        task.add_done_callback(self._owned.discard)
        return task

    async def _finish(self) -> None:
        if self._owned:
            await asyncio.wait(self._owned, timeout=self._limits.record_wait_s * 2)
        await self._book.catch_up()
        self._pool.close()
        self._at_vendors.close()


def _allow(method: str, allowed: str) -> None:
    if method != allowed:
        message = f"this path takes {allowed}, not {method[:20]}"
        raise Refusal(Condition.WRONG_METHOD, message, headers={"allow": allowed})


def _purpose(principal: Principal, declared: str | None) -> Purpose:
    if declared not in (None, Purpose.CODING, Purpose.GENERAL):
        # A mistyped declaration must not let a coding call out of its perimeter.
        message = f"the header x-daalu-purpose must be 'coding' or 'general', not {declared[:50]!r}"
        raise Refusal(Condition.INVALID_VALUE, message, param="x-daalu-purpose")
    coding = Purpose.CODING in (principal.purpose, declared)
    return Purpose.CODING if coding else Purpose.GENERAL


async def _send_json(
    client: Client, status: int, body: bytes, extra: list[tuple[bytes, bytes]] | None = None
) -> None:
    length = (b"content-length", b"%d" % len(body))
    await client.start(status, [JSON_TYPE, length, *(extra or [])])
    await client.end(body)
