"""The engine room's front: what the daemon's other rooms ask of the engine."""

import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from daalu_wire.v1 import agent_pb2

from agent.engine.catalogue import Catalogue, NotInCatalogue
from agent.engine.client import EngineSilent
from agent.engine.launch import Host
from agent.engine.memory import Desired, Memory
from agent.engine.receipts import JournalReader
from agent.engine.supervisor import DEFAULT_GRACE_S, Supervisor

_ENDS_DEPLOYMENT = (
    agent_pb2.ENGINE_PHASE_READY,
    agent_pb2.ENGINE_PHASE_DRAINING,
    agent_pb2.ENGINE_PHASE_FAILED,
)


class EngineInUse(Exception):
    """Another daemon looks after the engine of this state directory."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Where things are, and where the engine listens: the tunnel address, 127.0.0.1 in direct mode."""

    state: Path
    address: str
    port: int
    engine_python: Path
    models: Path
    catalogue: Path | None = None
    # False: vLLM's CPU build, for hosts that have no card or a simulated one.
    has_card: bool = False
    # Added to the engine's environment by the owner.
    added_environment: dict[str, str] = field(default_factory=dict)


class Engine:
    """One host's engine. `run` looks after it; everything else may be asked at any time."""

    def __init__(self, settings: EngineSettings) -> None:
        """Raises InvalidEntry for a bad catalogue, StateError for a damaged state file, OSError."""
        self._memory = Memory(settings.state)
        self._catalogue = Catalogue.load(settings.catalogue)
        host = Host(
            engine_python=settings.engine_python,
            models=settings.models,
            gate=self._memory.gate,
            address=settings.address,
            port=settings.port,
            has_card=settings.has_card,
            environment=dict(os.environ),
            added=settings.added_environment,
        )
        self._supervisor = Supervisor(self._memory, self._catalogue, host)
        self._journal = JournalReader(self._memory.journal)

    async def run(self) -> None:
        """Adopt or start the desired model's engine and keep it up, for ever.

        Cancelling leaves the engine and its calls alone; the next daemon adopts them. Raises EngineInUse.
        """
        with self._alone():
            await self._supervisor.run()

    async def deploy(
        self, reference: agent_pb2.CatalogueReference
    ) -> AsyncIterator[agent_pb2.DeployProgress]:
        """Make the model the desired one and report until it is ready or has failed.

        Hanging up changes nothing. Asking again joins, and tries a failed one again. Ends with STOPPED when
        another model, or none, was asked for meanwhile. Raises NotInCatalogue before anything has changed.
        """
        self._catalogue.find(reference)
        self._supervisor.want(Desired(reference.model_id, reference.digest))
        while self._supervisor.desired.reference == reference:
            status = self._supervisor.status
            yield agent_pb2.DeployProgress(
                phase=status.phase, progress_percent=status.percent, detail=status.detail
            )
            if status.phase in _ENDS_DEPLOYMENT:
                return
            # Whatever was told while the caller took the last one is seen at once.
            while self._supervisor.status is status:
                await self._supervisor.news()
        yield agent_pb2.DeployProgress(
            phase=agent_pb2.ENGINE_PHASE_STOPPED, detail="something else was asked for meanwhile"
        )

    async def stop(self, grace_ms: int = 0) -> None:
        """End the engine and desire no model. Calls in flight have the grace, 30 s where it is 0, to end."""
        grace_s = grace_ms / 1000 if grace_ms else DEFAULT_GRACE_S
        self._supervisor.want(Desired(), grace_s)
        while self._supervisor.desired.reference is None and (
            self._supervisor.status.phase != agent_pb2.ENGINE_PHASE_STOPPED
        ):
            await self._supervisor.news()

    async def take_down(self) -> None:
        """End the engine, calls and all; what is desired stays on record. For when `run` has ended."""
        await self._supervisor.take_down()

    async def drain(self) -> int:
        """Turn new calls away, also after restarts, until `resume` or a deployment; how many still run."""
        self._supervisor.drain(True)
        if self._supervisor.status.phase != agent_pb2.ENGINE_PHASE_DRAINING:
            return 0
        with contextlib.suppress(EngineSilent):
            return (await self._supervisor.measure()).running_calls
        return self._supervisor.figures.running_calls

    async def resume(self) -> None:
        """Take calls again."""
        self._supervisor.drain(False)

    async def refuse_pool(self, refused: bool) -> None:
        """Turn calls of pools away, or take them again: until the other is said, also over restarts."""
        self._supervisor.refuse_pool(refused)

    def sample(self) -> agent_pb2.EngineSample:
        """The engine now; its figures are at most a second or two old."""
        supervisor = self._supervisor
        phase, detail, open_calls = supervisor.status.phase, supervisor.status.detail, supervisor.open_calls()
        if phase == agent_pb2.ENGINE_PHASE_DRAINING:
            detail = f"{detail}, {open_calls} running"
        sample = agent_pb2.EngineSample(
            phase=phase,
            detail=detail,
            progress_percent=supervisor.status.percent,
            running_calls=supervisor.figures.running_calls,
            waiting_calls=supervisor.figures.waiting_calls,
            restarts_count=supervisor.restarts_count,
            open_calls=open_calls,
            pool_refused=supervisor.pool_refused,
        )
        if supervisor.figures.kv_cache_percent is not None:
            sample.kv_cache_percent.value = supervisor.figures.kv_cache_percent
        reference = supervisor.desired.reference
        if reference is not None:
            sample.model.CopyFrom(reference)
            with contextlib.suppress(NotInCatalogue):
                model = self._catalogue.find(reference)
                sample.served_name = model.served_name
                sample.context_tokens = model.context_tokens
                sample.max_running_calls = model.max_running_calls
        return sample

    async def probe(self, timeout_s: float) -> float:
        """Seconds until a ready engine had answered with one real token. Raises EngineSilent."""
        reference = self._supervisor.desired.reference
        if reference is None:
            raise EngineSilent("no model is deployed")
        try:
            model = self._catalogue.find(reference)
        except NotInCatalogue as error:
            raise EngineSilent(str(error)) from error
        return await self._supervisor.probe(model.kind, timeout_s)

    def install_ticket_keys(self, keys: Iterable[agent_pb2.TicketKey]) -> None:
        """Replace the control plane's keys. Raises ValueError for a key that cannot be one."""
        keys = list(keys)
        distinct = len({key.id for key in keys}) == len(keys)
        if not distinct or any(not key.id or len(key.key) != 32 for key in keys):
            raise ValueError("ticket keys have ids of their own, from 1, and 32 bytes each")
        self._supervisor.install_ticket_keys(keys)

    def receipts(self, after_sequence: int) -> AsyncIterator[agent_pb2.Receipt]:
        """Receipts after the sequence number, in order, then new ones as they come, for ever."""
        return self._journal.receipts(after_sequence)

    def acknowledge(self, sequence: int) -> None:
        """Receipts up to and including this one are stored elsewhere, and may be deleted here."""
        self._journal.acknowledge(sequence)

    def catalogue(self) -> list[agent_pb2.CatalogueReference]:
        """What `deploy` accepts."""
        return self._catalogue.references()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        descriptor = os.open(self._memory.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise EngineInUse(f"another daemon holds {self._memory.lock}: stop it first") from error
            yield
        finally:
            os.close(descriptor)
