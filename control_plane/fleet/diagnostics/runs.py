"""Follows runs of diagnostics to their end, whoever asked for them and whether or not they still look."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Protocol

import grpc
from daalu_wire.v1 import agent_pb2
from sqlalchemy.exc import SQLAlchemyError

from control_plane.access import Duplicate
from control_plane.fleet.diagnostics.finding import MAX_WORDS_CHARACTERS, Finding
from control_plane.fleet.diagnostics.queries import add_finding, begin_run, end_run
from control_plane.identifiers import AgentId, DiagnosticRunId, new_diagnostic_run_id
from control_plane.store import Store, WriterClosed, WriterOverloaded, unix_ms

logger = logging.getLogger(__name__)

# More than every check's own deadline together takes, but for a host on which everything hangs.
RUN_TIMEOUT_S = 120.0
# An agent has eleven; one that sends without end is cut off.
MAX_FINDINGS = 64


class AlreadyRunning(Duplicate):
    """The agent is being looked over already."""


class Fleet(Protocol):
    """What is needed of the fleet."""

    def diagnose(self, agent_id: AgentId) -> AsyncGenerator[agent_pb2.DiagnosticsProgress, None]:
        """Raises Unknown and NotConnected at once; what it gives raises grpc.aio.AioRpcError."""
        ...


class DiagnosticRuns:
    """One per process. `run` owns what is under way."""

    def __init__(self, store: Store, fleet: Fleet) -> None:
        self._store = store
        self._fleet = fleet
        self._tasks: asyncio.TaskGroup | None = None
        # By agent: a host is looked over once at a time.
        self._under_way: dict[AgentId, DiagnosticRunId] = {}
        # The check that each run is at.
        self._at: dict[DiagnosticRunId, str] = {}

    async def run(self) -> None:
        """Until cancelled; that ends what is under way, and says so in its record."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            await asyncio.Event().wait()

    def check_under_way(self, run_id: str) -> str | None:
        """Its title; None: the run has ended, has not begun, or is another process's."""
        return self._at.get(DiagnosticRunId(run_id))

    async def start(self, agent_id: AgentId, actor: str) -> DiagnosticRunId:
        """Returns once the run is on record. Raises Unknown, NotConnected, AlreadyRunning."""
        if self._tasks is None:
            raise RuntimeError("run() does not run")
        if agent_id in self._under_way:
            raise AlreadyRunning(
                f"this agent is being looked over already: daalu diagnostics show {self._under_way[agent_id]}"
            )
        progress = self._fleet.diagnose(agent_id)
        run_id = self._under_way[agent_id] = new_diagnostic_run_id()
        try:
            await self._store.write(partial(begin_run, run_id=run_id, agent_id=agent_id, actor=actor))
        except BaseException:
            del self._under_way[agent_id]
            raise
        self._tasks.create_task(self._follow(agent_id, run_id, progress), name=f"diagnostics {run_id}")
        return run_id

    async def _follow(
        self,
        agent_id: AgentId,
        run_id: DiagnosticRunId,
        progress: AsyncGenerator[agent_pb2.DiagnosticsProgress, None],
    ) -> None:
        # Where nothing else is said: this task was cancelled.
        error: str | None = "the control plane was stopped"
        try:
            async with asyncio.timeout(RUN_TIMEOUT_S), aclosing(progress):
                error = await self._take(run_id, progress)
        except TimeoutError:
            error = f"it did not end within {RUN_TIMEOUT_S:.0f} s"
        except grpc.aio.AioRpcError as failure:
            error = _in_words(failure)
        except (SQLAlchemyError, WriterOverloaded, WriterClosed) as failure:
            logger.error("diagnostics %s cannot be recorded: %s", run_id, failure)  # noqa: TRY400
            error = "its findings could not be recorded; the control plane's log has the details"
        except Exception:
            logger.exception("diagnostics %s broke", run_id)
            error = "a defect in the control plane; its log has the details"
        finally:
            self._at.pop(run_id, None)
            del self._under_way[agent_id]
            await asyncio.shield(self._end(run_id, error))

    async def _take(
        self, run_id: DiagnosticRunId, progress: AsyncGenerator[agent_pb2.DiagnosticsProgress, None]
    ) -> str | None:
        """Records finding by finding; returns why it was broken off, if it was."""
        position = 0
        async for step in progress:
            if step.WhichOneof("step") == "begun":
                self._at[run_id] = step.begun[:MAX_WORDS_CHARACTERS]
            elif step.WhichOneof("step") == "ended":
                if position == MAX_FINDINGS:
                    return f"the agent sent more than {MAX_FINDINGS} findings"
                position += 1
                finding = Finding.of(step.ended)
                await self._store.write(
                    partial(add_finding, run_id=run_id, position=position, finding=finding)
                )
        return None if position else "the agent found nothing to look at"

    async def _end(self, run_id: DiagnosticRunId, error: str | None) -> None:
        try:
            await self._store.write(partial(end_run, run_id=run_id, error=error))
        except (SQLAlchemyError, WriterOverloaded, WriterClosed) as failure:
            logger.error("the end of diagnostics %s cannot be recorded: %s", run_id, failure)  # noqa: TRY400


def is_lost(started_unix_ms: int, ended_unix_ms: int | None) -> bool:
    """Whether a run without an end cannot come to one any more: its process is gone."""
    return ended_unix_ms is None and unix_ms() - started_unix_ms > 2 * RUN_TIMEOUT_S * 1000


def _in_words(error: grpc.aio.AioRpcError) -> str:
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return "this agent's version knows no diagnostics: upgrade it"
    words = error.details() or error.code().name.lower().replace("_", " ")
    return words[:MAX_WORDS_CHARACTERS]
