"""The fleet: one link for each enrolled agent, following the store, and the view that calls are routed by."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Collection
from dataclasses import dataclass

import grpc
from daalu_wire.v1 import agent_pb2
from sqlalchemy.exc import SQLAlchemyError

from control_plane.access import Invalid, Unknown
from control_plane.catalogue import CardClass, CardClasses, Catalogue
from control_plane.fleet import orders
from control_plane.fleet.conversation import CALL_TIMEOUT_S, Parts, stub_of
from control_plane.fleet.deployment import DRAIN_LIMIT_S
from control_plane.fleet.dial import CertificateAuthority, Dialler
from control_plane.fleet.facts import AgentFacts
from control_plane.fleet.link import AgentLink
from control_plane.fleet.offers import identity_of, refusal
from control_plane.fleet.pool_limits import PoolLimits
from control_plane.fleet.probe import ProbeFailed, probe
from control_plane.fleet.projection import engine_is_expected
from control_plane.fleet.queries import enrolled_agents
from control_plane.fleet.reaper import Reaper
from control_plane.fleet.record import Record
from control_plane.fleet.roster import Roster
from control_plane.fleet.state import AgentState
from control_plane.fleet.status import AgentStatus
from control_plane.fleet.tickets import TicketKey, derive_ticket_key
from control_plane.fleet.view import FleetView
from control_plane.identifiers import AgentId
from control_plane.store import Store, unix_ms, watch
from control_plane.store.tables import ChangeKind, Connection

logger = logging.getLogger(__name__)

# Agents that do not answer hold a place for CALL_TIMEOUT_S each.
MAX_CONNECTING = 256
STORE_RETRY_S = 1.0


class NotConnected(Exception):
    """The agent cannot be asked now; the message says why."""


@dataclass(slots=True)
class _Member:
    link: AgentLink
    # None: not dialled, because it is in direct mode and that is not allowed.
    task: asyncio.Task[None] | None


class Fleet:
    """One per process, built by the composition root. All of it lives on the event loop of `run`."""

    def __init__(
        self,
        store: Store,
        authority: CertificateAuthority,
        ticket_secret: bytes,
        catalogue: Catalogue,
        *,
        allow_direct: bool = False,
        card_classes: CardClasses | None = None,
        record: Record | None = None,
        orphaned_before_unix_ms: Callable[[], int] = lambda: 0,
        drain_limit_s: float = DRAIN_LIMIT_S,
    ) -> None:
        """`allow_direct`: also dial agents without a tunnel, on loopback.

        `card_classes` say what a card's link can do; without them that is not judged. `record` is told of
        every sample and change. Calls that began before `orphaned_before_unix_ms` are served by no living
        process. A model that is to go waits up to `drain_limit_s` for its calls.
        """
        self._store = store
        self._catalogue = catalogue
        self._ticket_secret = ticket_secret
        self._allow_direct = allow_direct
        self._card_classes = card_classes or CardClasses()
        self._record = record
        self._reaper = Reaper(store, orphaned_before_unix_ms)
        self._roster = Roster()
        self._members: dict[AgentId, _Member] = {}
        self._callbacks: list[Callable[[AgentId, str], None]] = []
        self._parts = Parts(
            store=store,
            authority=authority,
            dialler=Dialler(authority),
            catalogue=catalogue,
            ticket_secret=ticket_secret,
            connecting=asyncio.Semaphore(MAX_CONNECTING),
            drain_limit_s=drain_limit_s,
        )

    @property
    def view(self) -> FleetView:
        """As of now; never changes after it was handed out."""
        return self._roster.view

    def on_lost(self, callback: Callable[[AgentId, str], None]) -> None:
        """Called on the event loop, at once, with why: "revoked", or "out: …" after 15 s of silence.

        Callbacks must not block and must not raise.
        """
        self._callbacks.append(callback)

    def status(self, agent_id: AgentId) -> AgentStatus | None:
        """None: not enrolled, revoked, or not read from the store yet."""
        member = self._members.get(agent_id)
        return member.link.state.status() if member else None

    def ticket_key(self, agent_id: AgentId) -> TicketKey:
        """The key to sign this agent's tickets with: the newest that it is known to accept.

        Raises KeyError for an agent that is not in the fleet.
        """
        state = self._members[agent_id].link.state
        generation = state.installed_generation or state.facts.ticket_key_generation
        return derive_ticket_key(self._ticket_secret, agent_id, generation)

    async def deploy(self, agent_id: AgentId, model_id: str | None, actor: str) -> None:
        """Wants a catalogue model on an agent, or none; the fleet then works towards it for good.

        The same model again asks anew after a failure. Raises Unknown, and Invalid: also for what cannot
        fit on the agent's cards, with the arithmetic.
        """
        if model_id is not None:
            self._check_fit(agent_id, model_id)
        await self._store.write(
            lambda session: orders.want_model(session, agent_id=agent_id, model_id=model_id, actor=actor)
        )

    async def rotate_ticket_key(self, agent_id: AgentId, actor: str) -> int:
        """Returns the new generation. Raises Unknown and Invalid."""
        return await self._store.write(
            lambda session: orders.rotate_ticket_key(session, agent_id=agent_id, actor=actor)
        )

    async def set_drained(self, agent_id: AgentId, actor: str, *, drained: bool) -> None:
        """Whether an agent takes no new call, whoever's; for good, until the other is wanted.

        Calls in flight go on. In force in the router at once, also where the agent cannot be reached.
        Raises Unknown, and Invalid for a revoked agent.
        """
        await self._store.write(
            lambda session: orders.set_drained(session, agent_id=agent_id, drained=drained, actor=actor)
        )

    async def set_pool_paused(self, agent_id: AgentId, actor: str, *, paused: bool) -> None:
        """Whether an agent takes no new call of a pool; its owner's own calls go on. As `set_drained`."""
        await self._store.write(
            lambda session: orders.set_pool_paused(session, agent_id=agent_id, paused=paused, actor=actor)
        )

    async def set_pool_limits(
        self, agent_id: AgentId, change: Callable[[PoolLimits], PoolLimits], actor: str
    ) -> PoolLimits:
        """Changes what an owner allows of pool work; returns what holds then. As `set_drained`.

        Raises Unknown, and Invalid: also for limits that cannot be kept, and then nothing has changed.
        """
        return await self._store.write(
            lambda session: orders.set_pool_limits(session, agent_id=agent_id, change=change, actor=actor)
        )

    async def probe_engine(self, agent_id: AgentId) -> None:
        """One real request to its engine, the way that calls go. Raises Unknown, ProbeFailed."""
        member = self._members.get(agent_id)
        if member is None:
            raise Unknown("agent", agent_id)
        state = member.link.state
        if state.sample is None or not engine_is_expected(state.sample.engine):
            raise ProbeFailed("no engine of it is ready")
        await probe(state.facts, state.sample.engine, self.ticket_key(agent_id))

    def diagnose(
        self, agent_id: AgentId, level: int = 0
    ) -> AsyncGenerator[agent_pb2.DiagnosticsProgress, None]:
        """Has the agent look its host over; whoever asks for a stressful level knows what it does.

        Raises Unknown and NotConnected at once; what it gives raises grpc.aio.AioRpcError.
        """
        return _diagnose(self._connected(agent_id), level)

    async def check_diagnostics(self, agent_id: AgentId, level: int) -> None:
        """Whether the agent's host can run a level from 1 on. Raises Unknown, NotConnected, and Invalid with
        the agent's own words."""
        request = agent_pb2.RunDiagnosticsRequest(level=level, only_check=True)
        channel = self._connected(agent_id)
        try:
            await stub_of(channel).RunDiagnostics(request, timeout=CALL_TIMEOUT_S).read()
        except grpc.aio.AioRpcError as error:
            if error.code() in _REFUSALS:
                raise Invalid(error.details() or f"the agent refuses level {level}") from error
            raise NotConnected(f"the agent did not answer: {error.details() or error.code().name}") from error

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._reaper.run())
            async for changes in watch(self._store):
                if changes.kinds & {ChangeKind.AGENT, ChangeKind.DEPLOYMENT}:
                    await self._reload(tasks, changes.subjects or None)

    async def _reload(self, tasks: asyncio.TaskGroup, subjects: Collection[str] | None) -> None:
        """Reads these agents again; None: all of them."""
        found = await self._read(subjects)
        enrolled = {facts.agent_id for facts in found}
        looked_at = set(self._members) if subjects is None else {AgentId(each) for each in subjects}
        for agent_id in looked_at - enrolled:
            self._end(agent_id)
        for facts in found:
            self._begin(tasks, facts)

    async def _read(self, subjects: Collection[str] | None) -> list[AgentFacts]:
        """Until the store answers: what it has to say was announced once only."""
        while True:
            try:
                return await self._store.read(lambda session: enrolled_agents(session, subjects))
            except SQLAlchemyError as error:
                logger.error("agents cannot be read from the store, trying again: %s", error)  # noqa: TRY400
                await asyncio.sleep(STORE_RETRY_S)

    def _begin(self, tasks: asyncio.TaskGroup, facts: AgentFacts) -> None:
        member = self._members.get(facts.agent_id)
        if member is not None:
            member.link.state.update(facts)
            return
        state = AgentState(facts, self._roster.put, self._lost, self._recognise, self._record)
        link = AgentLink(state, self._parts)
        self._roster.put(state.view())
        if facts.connection is Connection.DIRECT and not self._allow_direct:
            state.problem(
                "connection", "direct agents are not allowed: start with --allow-direct, or enrol anew"
            )
            self._members[facts.agent_id] = _Member(link, None)
        else:
            task = tasks.create_task(link.run(), name=f"agent {facts.agent_id}")
            self._members[facts.agent_id] = _Member(link, task)

    def _end(self, agent_id: AgentId) -> None:
        member = self._members.pop(agent_id, None)
        if member is None:
            return
        # Before the task: what it still has in hand must not bring the agent back.
        member.link.state.close()
        self._roster.remove(agent_id)
        if member.task is not None:
            member.task.cancel()
        self._lost(agent_id, "revoked")

    def _lost(self, agent_id: AgentId, reason: str) -> None:
        for callback in self._callbacks:
            callback(agent_id, reason)

    def _recognise(self, card: agent_pb2.Card) -> CardClass | None:
        return self._card_classes.recognise(*identity_of(card))

    def _check_fit(self, agent_id: AgentId, model_id: str) -> None:
        entry = self._catalogue.get(model_id)
        if entry is None:
            raise Unknown("model", model_id)
        status = self.status(agent_id)
        words = refusal(entry.model, status.inventory) if status else None
        if words is not None:
            raise Invalid(words)

    def _connected(self, agent_id: AgentId) -> grpc.aio.Channel:
        member = self._members.get(agent_id)
        if member is None:
            raise Unknown("agent", agent_id)
        if member.link.channel is None:
            problem = member.link.state.status().problems.get("connection", "not connected yet")
            raise NotConnected(f"agent {member.link.state.facts.name} cannot be asked now: {problem}")
        return member.link.channel


# Of a level of diagnostics: by this host, and by an agent that does not know it.
_REFUSALS = frozenset(
    {
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)


async def _diagnose(
    channel: grpc.aio.Channel, level: int
) -> AsyncGenerator[agent_pb2.DiagnosticsProgress, None]:
    request = agent_pb2.RunDiagnosticsRequest(
        level=level, clock_unix_ms=unix_ms(), stress_acknowledged=level > 0
    )
    call = stub_of(channel).RunDiagnostics(request)
    try:
        async for progress in call:
            yield progress
    finally:
        call.cancel()
