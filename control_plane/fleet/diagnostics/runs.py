"""Follows runs of diagnostics to their end, whoever asked for them and whether or not they still look."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import grpc
from daalu_wire.v1 import agent_pb2
from sqlalchemy.exc import SQLAlchemyError

from control_plane.access import Invalid, Unknown
from control_plane.fleet.diagnostics.finding import MAX_WORDS_CHARACTERS, Finding, Steps
from control_plane.fleet.diagnostics.levels import (
    DRAIN_LIMIT_S,
    LIMIT_S,
    MAX_LEVEL,
    STOP_LIMIT_S,
    Offer,
    check_wanted,
    has_no_calls,
    is_stressful,
)
from control_plane.fleet.diagnostics.queries import (
    LEASE_MS,
    AlreadyRunning,
    Kind,
    add_finding,
    begin_run,
    cancel_run,
    end_run,
    live_on,
    reap,
)
from control_plane.fleet.diagnostics.taking import take_calls, take_engine
from control_plane.fleet.fleet import NotConnected
from control_plane.fleet.status import AgentStatus
from control_plane.identifiers import AgentId, DiagnosticRunId, new_diagnostic_run_id
from control_plane.store import Store, WriterClosed, WriterOverloaded, unix_ms

logger = logging.getLogger(__name__)

# An agent has eleven checks, and dcgmi some fifteen tests; one that sends without end is cut off.
MAX_FINDINGS = 64
BEAT_S = LEASE_MS / 1000 / 6
LOOK_S = 0.2


class Fleet(Protocol):
    """What is needed of the fleet."""

    def diagnose(
        self, agent_id: AgentId, level: int = 0
    ) -> AsyncGenerator[agent_pb2.DiagnosticsProgress, None]:
        """Raises Unknown and NotConnected at once; what it gives raises grpc.aio.AioRpcError."""
        ...

    async def check_diagnostics(self, agent_id: AgentId, level: int) -> None:
        """Raises Unknown, NotConnected, Invalid."""
        ...

    def status(self, agent_id: AgentId) -> AgentStatus | None: ...


class Pipeline(Protocol):
    """What is needed of the self-test."""

    def steps(self, agent_id: AgentId, actor: str, run_id: DiagnosticRunId) -> Steps: ...


class _BrokenOff(Exception):
    """The run is to go no further; the message says why."""


@dataclass(slots=True)
class _Run:
    run_id: DiagnosticRunId
    agent_id: AgentId
    level: int
    limit_s: float
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    # What it is at; None: nothing yet.
    at: str | None = None


class DiagnosticRuns:
    """One per process. `run` owns what is under way."""

    def __init__(self, store: Store, fleet: Fleet, pipeline: Pipeline | None = None) -> None:
        """`pipeline` None: self-tests are refused."""
        self._store = store
        self._pipeline = pipeline
        self._fleet = fleet
        self._tasks: asyncio.TaskGroup | None = None
        # By agent: a host is looked over once at a time.
        self._under_way: dict[AgentId, _Run] = {}

    async def run(self) -> None:
        """Until cancelled; that ends what is under way, and says so in its record."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            while True:
                try:
                    await self._store.write(reap)
                except (SQLAlchemyError, WriterOverloaded):
                    logger.exception("lost diagnostics could not be ended, trying again")
                await asyncio.sleep(LEASE_MS / 1000)

    def check_under_way(self, run_id: str) -> str | None:
        """Its title; None: the run has ended, has not begun, or is another process's."""
        return next((run.at for run in self._under_way.values() if run.run_id == run_id), None)

    async def offers(self, agent_id: AgentId) -> list[Offer]:
        """What each level is, and whether this agent's host can run it. Raises Unknown, NotConnected."""
        found = [Offer(0, is_stressful(0), LIMIT_S[0], None)]
        for level in range(1, MAX_LEVEL + 1):
            refusal = None
            try:
                await self._fleet.check_diagnostics(agent_id, level)
            except Invalid as refused:
                refusal = str(refused)
            found.append(Offer(level, is_stressful(level), LIMIT_S[level], refusal))
        return found

    async def start(
        self, agent_id: AgentId, actor: str, *, level: int = 0, acknowledged: bool = False
    ) -> DiagnosticRunId:
        """Returns once the run is on record. `acknowledged`: whoever asks knows what a stressful level does.

        Raises Unknown, NotConnected, AlreadyRunning, Duplicate where the card is under a load test, and
        Invalid where the level cannot be run there: nothing has been done then.
        """
        check_wanted(level, acknowledged=acknowledged)
        if level:
            await self._fleet.check_diagnostics(agent_id, level)
        steps = _told(self._fleet.diagnose(agent_id, level))
        if is_stressful(level):
            steps = self._with_the_card_free(agent_id, steps)
        return await self._begin(agent_id, actor, lambda _: steps, level=level)

    async def start_selftest(self, agent_id: AgentId, actor: str) -> DiagnosticRunId:
        """Every stage from the card to the page. Returns once it is on record. Raises Unknown, Duplicate."""
        if self._pipeline is None:
            raise Invalid("this control plane has no pipeline to test")
        steps = self._pipeline.steps
        return await self._begin(
            agent_id, actor, lambda run_id: steps(agent_id, actor, run_id), kind=Kind.PIPELINE
        )

    async def _begin(
        self,
        agent_id: AgentId,
        actor: str,
        steps_of: Callable[[DiagnosticRunId], Steps],
        *,
        level: int = 0,
        kind: Kind = Kind.HOST,
    ) -> DiagnosticRunId:
        """Puts a run on record and follows its steps. Raises Unknown, Duplicate."""
        if self._tasks is None:
            raise RuntimeError("run() does not run")
        if agent_id in self._under_way:
            raise AlreadyRunning(
                "this agent is being looked over already: daalu diagnostics show"
                f" {self._under_way[agent_id].run_id}"
            )
        limit_s = LIMIT_S[level] + (DRAIN_LIMIT_S + STOP_LIMIT_S if is_stressful(level) else 0)
        run = self._under_way[agent_id] = _Run(new_diagnostic_run_id(), agent_id, level, limit_s)
        try:
            write = partial(
                begin_run, run_id=run.run_id, agent_id=agent_id, actor=actor, level=level, kind=kind
            )
            await self._store.write(write)
        except BaseException:
            del self._under_way[agent_id]
            raise
        self._tasks.create_task(self._follow(run, steps_of(run.run_id)), name=f"diagnostics {run.run_id}")
        return run.run_id

    async def cancel(self, run_id: str, actor: str) -> None:
        """It ends soon, and what it took from the card's service comes back. Raises Unknown."""
        await self._store.write(partial(cancel_run, run_id=run_id, actor=actor))
        for run in self._under_way.values():
            if run.run_id == run_id:
                run.cancelled.set()

    async def _follow(self, run: _Run, steps: Steps) -> None:
        # Where nothing else is said: this task was cancelled.
        error: str | None = "the control plane was stopped"
        try:
            async with asyncio.timeout(run.limit_s), asyncio.TaskGroup() as tasks:
                beating = tasks.create_task(self._beat(run))
                async with aclosing(steps):
                    await self._take(run, steps)
                beating.cancel()
            error = None
        except TimeoutError:
            error = f"it did not end within {run.limit_s:.0f} s"
        except ExceptionGroup as group:
            error = _in_words(run.run_id, group)
        finally:
            del self._under_way[run.agent_id]
            await asyncio.shield(self._end(run.run_id, error))

    async def _take(self, run: _Run, steps: Steps) -> None:
        """Records finding by finding. Raises _BrokenOff."""
        position = 0
        async for step in steps:
            if isinstance(step, str):
                run.at = step[:MAX_WORDS_CHARACTERS]
                continue
            if position == MAX_FINDINGS:
                raise _BrokenOff(f"the agent sent more than {MAX_FINDINGS} findings")
            position += 1
            await self._store.write(partial(add_finding, run_id=run.run_id, position=position, finding=step))
        if not position:
            raise _BrokenOff("the agent found nothing to look at")

    async def _beat(self, run: _Run) -> None:
        """Raises _BrokenOff."""
        while True:
            try:
                await asyncio.wait_for(run.cancelled.wait(), BEAT_S)
            except TimeoutError:
                if await self._store.write(lambda session: live_on(session, run.run_id)):
                    continue
            raise _BrokenOff("cancelled")

    async def _with_the_card_free(self, agent_id: AgentId, steps: Steps) -> Steps:
        """Takes the card from its calls and its engine first; the run's end gives both back."""
        run_id = self._under_way[agent_id].run_id
        async with aclosing(steps):
            yield "waiting for the calls on the card to end"
            await self._store.write(lambda session: take_calls(session, run_id))
            await self._until(agent_id, has_no_calls, DRAIN_LIMIT_S, "calls were still on the card")
            yield "stopping the engine"
            await self._store.write(lambda session: take_engine(session, run_id))
            await self._until(agent_id, _is_stopped, STOP_LIMIT_S, "the engine had not stopped")
            async for step in steps:
                yield step

    async def _until(
        self,
        agent_id: AgentId,
        condition: Callable[[agent_pb2.EngineSample], bool],
        limit_s: float,
        otherwise: str,
    ) -> None:
        """Until a sample from now on says so. Raises _BrokenOff."""
        since_unix_ms = unix_ms()
        try:
            async with asyncio.timeout(limit_s):
                while True:
                    status = self._fleet.status(agent_id)
                    if status is None:
                        raise _BrokenOff("the agent is gone: it was revoked")
                    heard_unix_ms = status.heard_unix_ms or 0
                    if heard_unix_ms > since_unix_ms and status.sample and condition(status.sample.engine):
                        return
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise _BrokenOff(f"{otherwise} after {limit_s:.0f} s: nothing was tested") from None

    async def _end(self, run_id: DiagnosticRunId, error: str | None) -> None:
        try:
            await self._store.write(partial(end_run, run_id=run_id, error=error))
        except (SQLAlchemyError, WriterOverloaded, WriterClosed) as failure:
            # Its lease ends, and the next process ends it and gives back what it took.
            logger.error("the end of diagnostics %s cannot be recorded: %s", run_id, failure)  # noqa: TRY400


def _is_stopped(engine: agent_pb2.EngineSample) -> bool:
    return engine.phase == agent_pb2.ENGINE_PHASE_STOPPED


async def _told(progress: AsyncGenerator[agent_pb2.DiagnosticsProgress, None]) -> Steps:
    async with aclosing(progress):
        async for step in progress:
            if step.WhichOneof("step") == "begun":
                yield step.begun
            elif step.WhichOneof("step") == "ended":
                yield Finding.of(step.ended)


def _in_words(run_id: DiagnosticRunId, group: ExceptionGroup[Exception]) -> str:
    for error in group.exceptions:
        match error:
            case _BrokenOff() | NotConnected() | Unknown() | Invalid():
                return str(error)
            case grpc.aio.AioRpcError():
                return _of_rpc(error)
            case SQLAlchemyError() | WriterOverloaded() | WriterClosed():
                logger.error("diagnostics %s cannot be recorded: %s", run_id, error)
                return "its findings could not be recorded; the control plane's log has the details"
    logger.error("diagnostics %s broke", run_id, exc_info=group)
    return "a defect in the control plane; its log has the details"


def _of_rpc(error: grpc.aio.AioRpcError) -> str:
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return "this agent's version knows no diagnostics: upgrade it"
    words = error.details() or error.code().name.lower().replace("_", " ")
    return words[:MAX_WORDS_CHARACTERS]
