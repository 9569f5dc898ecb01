"""One connection to one agent, from dialling it to its end."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import grpc
from cryptography import x509
from daalu_wire.v1 import agent_pb2
from daalu_wire.v1.agent_pb2_grpc import AgentServiceStub
from sqlalchemy.exc import SQLAlchemyError

from control_plane.catalogue import Catalogue
from control_plane.fleet import deployment, draining
from control_plane.fleet.backoff import Backoff
from control_plane.fleet.deployment import (
    DRAIN_LIMIT_S,
    Deploy,
    Empty,
    Nothing,
    Order,
    Reference,
    Situation,
    Stop,
)
from control_plane.fleet.dial import CertificateAuthority, Dialler, in_words
from control_plane.fleet.liveness import SUSPECT_AFTER_S
from control_plane.fleet.probe import ProbeFailed, probe
from control_plane.fleet.projection import engine_is_expected
from control_plane.fleet.receipt_stream import BadReceipts, stream_receipts
from control_plane.fleet.renewal import (
    REFUSED_PAUSE_S,
    RENEWED_PAUSE_S,
    RenewalRefused,
    renew,
    renew_in_s,
)
from control_plane.fleet.state import AgentState
from control_plane.fleet.tickets import accepted_keys, derive_ticket_key
from control_plane.store import Store, WriterOverloaded

if TYPE_CHECKING:
    # There for type checkers only.
    from daalu_wire.v1.agent_pb2_grpc import AgentServiceAsyncStub

TELEMETRY_INTERVAL_MS = 2_000
CALL_TIMEOUT_S = 5.0
STOP_TIMEOUT_S = 120.0
# Longer than any download and load of a model that should be waited for.
DEPLOY_TIMEOUT_S = 7_200.0
# After a deployment's end the next samples must have come before its outcome is judged.
SETTLE_S = 5.0
RENEWAL_LOOK_S = 3_600.0
PART_RETRY_FIRST_S = 1.0
PART_RETRY_CAP_S = 30.0

# Asking again with the same model would get the same answer.
_FINAL = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)


@dataclass(frozen=True, slots=True)
class Parts:
    """What all agents' links share."""

    store: Store
    authority: CertificateAuthority
    dialler: Dialler
    catalogue: Catalogue
    ticket_secret: bytes
    # Bounds how many agents are being connected to at once.
    connecting: asyncio.Semaphore
    # How long a model that is to go waits for its calls.
    drain_limit_s: float = DRAIN_LIMIT_S


class Conversation:
    """Telemetry is its life: when that ends, all of it ends. The other parts retry within it."""

    def __init__(self, state: AgentState, parts: Parts, stub: "AgentServiceAsyncStub") -> None:
        self._state = state
        self._parts = parts
        self._stub = stub
        self._probing: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Inventory and ticket keys, before the first sample can count. Raises grpc.aio.AioRpcError."""
        request = agent_pb2.GetInventoryRequest()
        self._state.inventory = await self._stub.GetInventory(request, timeout=CALL_TIMEOUT_S)
        await self._install_ticket_keys()

    async def go_on(self) -> str:
        """Until the connection breaks; returns why, in words."""
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(self._repeat("receipts", self._receipts)),
                tasks.create_task(self._repeat("deployment", self._deployment)),
                tasks.create_task(self._repeat("draining", self._draining)),
                tasks.create_task(self._repeat("pool work", self._pool_work)),
                tasks.create_task(self._repeat("renewal", self._renewal)),
                tasks.create_task(self._repeat("ticket keys", self._ticket_keys)),
            ]
            try:
                return await self._telemetry(tasks)
            finally:
                for task in running:
                    task.cancel()
                if self._probing is not None:
                    self._probing.cancel()

    async def _telemetry(self, tasks: asyncio.TaskGroup) -> str:
        target = self._state.facts.rpc_target
        call = self._stub.StreamTelemetry(agent_pb2.StreamTelemetryRequest(interval_ms=TELEMETRY_INTERVAL_MS))
        try:
            while True:
                async with asyncio.timeout(SUSPECT_AFTER_S):
                    sample = await call.read()
                if not isinstance(sample, agent_pb2.TelemetrySample):
                    return f"{target}: the agent ended its telemetry"
                self._state.hear(sample, time.monotonic())
                if self._state.contact.wants_probe and (self._probing is None or self._probing.done()):
                    self._probing = tasks.create_task(self._probe(sample.engine))
        except TimeoutError:
            return f"{target}: no sample for {SUSPECT_AFTER_S:g} s"
        except grpc.aio.AioRpcError as error:
            return in_words(error, target)
        finally:
            call.cancel()

    async def _probe(self, engine: agent_pb2.EngineSample) -> None:
        facts = self._state.facts
        if engine_is_expected(engine):
            key = derive_ticket_key(
                self._parts.ticket_secret, facts.agent_id, self._state.installed_generation
            )
            try:
                await probe(facts, engine, key)
            except ProbeFailed as failure:
                self._state.problem("probe", str(failure))
                return
        self._state.probed(time.monotonic())

    async def _repeat(self, part: str, work: Callable[[], Awaitable[None]]) -> None:
        """Runs a part again and again; what goes wrong with it is noted and leaves the others alone."""
        backoff = Backoff(PART_RETRY_FIRST_S, PART_RETRY_CAP_S)
        while True:
            try:
                await work()
                self._state.problem(part, None)
                backoff.reset()
            except grpc.aio.AioRpcError as error:
                self._state.problem(part, in_words(error, self._state.facts.rpc_target))
            except (BadReceipts, TimeoutError, WriterOverloaded, SQLAlchemyError) as error:
                self._state.problem(part, str(error) or type(error).__name__)
            except RenewalRefused as refusal:
                self._state.problem(part, str(refusal))
            await asyncio.sleep(backoff.next_s())

    async def _receipts(self) -> None:
        await stream_receipts(self._stub, self._state.agent_id, self._parts.store)

    async def _renewal(self) -> None:
        # Looked at anew now and then, since the wall clock may be set.
        wait_s = max(0.0, self._renewal_wait_s())
        await asyncio.sleep(min(wait_s, RENEWAL_LOOK_S))
        if wait_s <= RENEWAL_LOOK_S:
            await renew_and_note(self._stub, self._state, self._parts)

    def _renewal_wait_s(self) -> float:
        due_s = renew_in_s(self._state.facts.certificate_pem, datetime.now(UTC))
        return max(due_s, self._state.renew_not_before_s - time.monotonic())

    async def _ticket_keys(self) -> None:
        self._state.facts_changed.clear()
        if self._state.facts.ticket_key_generation == self._state.installed_generation:
            await self._state.facts_changed.wait()
        else:
            await self._install_ticket_keys()

    async def _install_ticket_keys(self) -> None:
        facts = self._state.facts
        keys = accepted_keys(self._parts.ticket_secret, facts.agent_id, facts.ticket_key_generation)
        request = agent_pb2.InstallTicketKeysRequest(
            keys=[agent_pb2.TicketKey(id=each.id, key=each.key) for each in keys]
        )
        await self._stub.InstallTicketKeys(request, timeout=CALL_TIMEOUT_S)
        self._state.installed_generation = facts.ticket_key_generation

    async def _deployment(self) -> None:
        while True:
            self._state.news.clear()
            situation = self._situation()
            if situation is not None:
                await self._take(situation)
            await self._state.news.wait()

    async def _draining(self) -> None:
        while True:
            self._state.drain_news.clear()
            if self._state.sample is not None:
                phase = self._state.sample.engine.phase
                match draining.ask(phase, drained=self._state.drained):
                    case draining.Ask.DRAIN:
                        await self._stub.Drain(agent_pb2.DrainRequest(), timeout=CALL_TIMEOUT_S)
                    case draining.Ask.RESUME:
                        await self._stub.Resume(agent_pb2.ResumeRequest(), timeout=CALL_TIMEOUT_S)
                self._state.problem("draining", None)
            await self._state.drain_news.wait()

    async def _pool_work(self) -> None:
        """Keeps the gate's switch as it is wanted, whatever the engine does."""
        while True:
            self._state.pool_news.clear()
            sample, refused = self._state.sample, self._state.pool_refused
            if sample is not None and sample.engine.pool_refused != refused:
                request = agent_pb2.SetPoolWorkRequest(refused=refused)
                await self._stub.SetPoolWork(request, timeout=CALL_TIMEOUT_S)
            self._state.problem("pool work", None)
            await self._state.pool_news.wait()

    def _situation(self) -> Situation | None:
        state = self._state
        if state.sample is None:
            return None
        desired = state.facts.desired
        entry = self._parts.catalogue.get(desired.model_id) if desired.model_id else None
        reference = Reference(entry.model.model_id, entry.digest) if entry else None
        order = Order(desired, reference, state.sample.daemon_started_unix_ms)
        return Situation(
            order,
            state.sample.engine,
            state.agent_catalogue(),
            state.asked,
            state.emptying_since_s,
            self._parts.drain_limit_s,
        )

    async def _take(self, situation: Situation) -> None:
        state, now_s = self._state, time.monotonic()
        step = deployment.decide(situation, now_s)
        if isinstance(step, Nothing):
            state.emptied()
            state.problem("deployment", step.problem)
            return
        if isinstance(step, Empty):
            state.emptying(deployment.progress(situation), now_s)
            return
        self._tell_lost_calls(situation)
        state.asked = deployment.after_asking(situation.order, state.asked, now_s)
        match step:
            case Stop():
                await self._stub.StopModel(agent_pb2.StopModelRequest(), timeout=STOP_TIMEOUT_S)
            case Deploy(reference):
                failure = await self._deploy(reference)
                pause_s = max(state.asked.not_before_s, time.monotonic() + SETTLE_S)
                state.asked = replace(state.asked, not_before_s=pause_s, failure=failure)
                state.problem("deployment", failure)

    def _tell_lost_calls(self, situation: Situation) -> None:
        calls = deployment.calls_on(situation.engine) if deployment.is_serving(situation.engine) else 0
        if calls:
            limit_s = self._parts.drain_limit_s
            words = f"{calls} calls had not ended after {limit_s:.0f} s (drain_limit_s) and are cut off"
            self._state.problem("deployment", words)

    async def _deploy(self, reference: Reference) -> str | None:
        """Follows a deployment until it ends or something else is wanted; returns a final failure's words."""
        wanted = self._state.facts.desired
        following = asyncio.create_task(self._follow(reference))
        try:
            while not following.done() and self._state.facts.desired == wanted:
                self._state.news.clear()
                changed = asyncio.create_task(self._state.news.wait())
                await asyncio.wait({following, changed}, return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
            return following.result() if following.done() else None
        finally:
            following.cancel()
            await asyncio.wait([following])

    async def _follow(self, reference: Reference) -> str | None:
        model = agent_pb2.CatalogueReference(model_id=reference.model_id, digest=reference.digest)
        call = self._stub.DeployModel(agent_pb2.DeployModelRequest(model=model), timeout=DEPLOY_TIMEOUT_S)
        last = agent_pb2.DeployProgress()
        try:
            while isinstance(progress := await call.read(), agent_pb2.DeployProgress):
                last = progress
        except grpc.aio.AioRpcError as error:
            if error.code() in _FINAL:
                return error.details() or error.code().name
            raise
        finally:
            call.cancel()
        if last.phase == agent_pb2.ENGINE_PHASE_FAILED:
            return last.detail or "the deployment failed; the agent's engine.log says why"
        return None


async def renew_and_note(stub: "AgentServiceAsyncStub", state: AgentState, parts: Parts) -> None:
    """Renews, and sets when that may be done next. Raises what `renew` does."""
    try:
        certificate_pem = await renew(stub, state.facts, parts.authority, parts.store)
    except RenewalRefused:
        state.renew_not_before_s = time.monotonic() + REFUSED_PAUSE_S
        raise
    state.renew_not_before_s = time.monotonic() + RENEWED_PAUSE_S
    expires = x509.load_pem_x509_certificate(certificate_pem.encode()).not_valid_after_utc
    state.renewed(certificate_pem, int(expires.timestamp() * 1000))


def stub_of(channel: grpc.aio.Channel) -> "AgentServiceAsyncStub":
    return AgentServiceStub(channel)
