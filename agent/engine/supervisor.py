"""Keeps the running engine equal to the desired one: one loop, one engine, its whole life in view.

STOPPED ─▶ STARTING ─▶ LOADING ─▶ READY ⇄ DRAINING
              ▲            │         │
              └─ BACKING_OFF ◀───────┘ (it went down)      any ─▶ STOPPING ─▶ STOPPED
                      └─▶ FAILED (after repeated early failures, or where trying again cannot help)
"""

import asyncio
import contextlib
import errno
import logging
import os
import random
import socket
from dataclasses import dataclass, replace
from typing import TypeAlias

from daalu_wire.v1 import agent_pb2, catalogue_pb2

from agent.capabilities import no_capabilities
from agent.engine.catalogue import Catalogue, NotInCatalogue
from agent.engine.client import EngineClient, EngineSilent, Figures
from agent.engine.launch import Host, launch, model_directory
from agent.engine.loading import BEGUN, advance, cause
from agent.engine.memory import Desired, Memory, RunningEngine
from agent.engine.open_calls import OpenCalls
from agent.engine.session import end_session, session_members, sessions_with
from agent.process import exit_status, spawn_detached

log = logging.getLogger(__name__)

Phase: TypeAlias = agent_pb2.EnginePhase.ValueType

LOOK_S = 0.5
MEASURE_S = 1.0
# Until the probe token; a large model on a slow disk takes many minutes.
LOADING_LIMIT_S = 1800.0
# An engine that answers nothing for this long is ended.
SILENCE_LIMIT_S = 60.0
# A failure is early when the engine was not ready for this long before.
SETTLED_S = 60.0
EARLY_FAILURES_MAX = 3
BACKOFF_MAX_S = 60.0
TERMINATE_S = 10.0
DEFAULT_GRACE_S = 30.0


class EngineFault(Exception):
    """The engine cannot be started or went down, in words.

    `again`: trying again may help by itself. `counts`: it is one of the failures after which to give up.
    """

    def __init__(self, words: str, *, again: bool = True, counts: bool = True) -> None:
        super().__init__(words)
        self.again, self.counts = again, counts


@dataclass(frozen=True, slots=True)
class Status:
    phase: Phase
    detail: str
    percent: int = 0


class Supervisor:
    """`desired` and `status` are for reading; `want` changes what is desired."""

    def __init__(self, memory: Memory, catalogue: Catalogue, host: Host) -> None:
        self._memory, self._catalogue, self._host = memory, catalogue, host
        self._local_key = memory.prepare()
        self.desired = memory.desired()
        self.status = Status(agent_pb2.ENGINE_PHASE_STARTING, "the daemon has just started")
        self.figures = Figures(0, 0, None)
        self.restarts_count = 0
        self._asked, self._told = asyncio.Event(), asyncio.Event()
        self._grace_s = DEFAULT_GRACE_S
        self._ready_since: float | None = None
        self._client = self._client_for("")
        self._open_calls = OpenCalls(memory.journal)
        self._running = memory.running()
        self._set_gate()

    def want(self, desired: Desired, grace_s: float = DEFAULT_GRACE_S) -> None:
        """Persist and act on it. Wanting a model that has failed tries it again."""
        same = desired.reference == self.desired.reference
        self._memory.set_desired(desired)
        self.desired = desired
        self._set_gate()
        if not same or self.status.phase == agent_pb2.ENGINE_PHASE_FAILED:
            self._grace_s = grace_s
            if desired.model_id:
                self._tell(agent_pb2.ENGINE_PHASE_STARTING, f"{desired.model_id} is asked for")
            else:
                self._tell(agent_pb2.ENGINE_PHASE_STOPPING, "no model is wanted any more")
            self._asked.set()
        elif self._ready_since is not None:
            self._tell_ready()

    def drain(self, drained: bool) -> None:
        """Persist whether calls are turned away; in effect for the gate's next call."""
        self.desired = replace(self.desired, drained=drained)
        self._memory.set_desired(self.desired)
        self._set_gate()
        if self._ready_since is not None:
            self._tell_ready()

    def open_calls(self) -> int:
        """Calls that the gate let in and whose end it has not seen; 0 where no engine runs."""
        return self._open_calls.count() if self._running is not None and self._running.process.alive() else 0

    def refuse_pool(self, refused: bool) -> None:
        """Persist whether calls of pools are turned away; in effect for the gate's next call."""
        self._memory.set_pool_refused(refused)

    @property
    def pool_refused(self) -> bool:
        return self._memory.pool_refused.exists()

    async def news(self) -> None:
        """Wait until `status` is told anew."""
        await self._told.wait()

    async def measure(self) -> Figures:
        """The figures of a ready engine, now. Raises EngineSilent."""
        self.figures = await self._client.figures()
        return self.figures

    async def probe(self, kind: catalogue_pb2.ModelKind.ValueType, timeout_s: float) -> float:
        """Seconds to a ready engine's answer. Raises EngineSilent."""
        return await self._client.probe(kind, timeout_s)

    def install_ticket_keys(self, keys: list[agent_pb2.TicketKey]) -> None:
        self._memory.set_ticket_keys(self._local_key, keys)

    def _client_for(self, served_name: str) -> EngineClient:
        return EngineClient(self._host.address, self._host.port, self._local_key, served_name)

    async def run(self) -> None:
        """For ever. Cancelling it leaves the engine running, for the next daemon to adopt."""
        await self._end_strays()
        running = self._running
        failures = 0
        while True:
            self._asked.clear()
            wanted = self.desired.reference
            try:
                running = await self._settle(running, wanted)
                if wanted is not None and running is not None:
                    await self._watch(running, self._catalogue.find(wanted))
                else:
                    self._tell(agent_pb2.ENGINE_PHASE_STOPPED, "no model is deployed")
                    await self._asked.wait()
                failures = 0
            except NotInCatalogue as fault:
                await self._fail(str(fault))
            except EngineFault as fault:
                if self._settled():
                    failures = 0
                failures += fault.counts
                self._ready_since = None
                log.warning("the engine: %s", fault)
                if fault.again and failures < EARLY_FAILURES_MAX:
                    await self._back_off(fault, failures)
                    continue
                times = f" ({failures} times)" if failures > 1 else ""
                await self._fail(f"{fault}{times}")
                failures = 0

    async def take_down(self) -> None:
        """End what runs, for when `run` does not."""
        await self._end_strays()
        if self._running is not None:
            await end_session(self._running.process, TERMINATE_S)
            self._note(None)

    async def _end_strays(self) -> None:
        """A daemon killed between starting an engine and writing it down leaves one that nobody knows."""
        for stray in sessions_with(f"DAALU_GATE_CONFIG={self._host.gate / 'config.json'}"):
            if self._running is None or stray.pid != self._running.process.pid:
                log.warning("ending an engine that nobody wrote down, pid %d", stray.pid)
                await end_session(stray, TERMINATE_S)

    async def _settle(
        self, running: RunningEngine | None, wanted: agent_pb2.CatalogueReference | None
    ) -> RunningEngine | None:
        """End what should not run, start what should; what runs then. Raises EngineFault, NotInCatalogue."""
        if running is not None and not self._is(running, wanted):
            await self._end(running)
            running = None
        if wanted is None:
            return None
        if running is None:
            return self._start(self._catalogue.find(wanted), wanted)
        # It was to go, and is wanted again.
        self._set_gate()
        if self._ready_since is None:
            log.info("adopted the running engine, pid %d", running.process.pid)
            self._tell(agent_pb2.ENGINE_PHASE_LOADING, "found it running, probing it")
        return running

    def _is(self, running: RunningEngine, wanted: agent_pb2.CatalogueReference | None) -> bool:
        return (
            wanted is not None
            and (running.model_id, running.digest) == (wanted.model_id, wanted.digest)
            and (running.address, running.port) == (self._host.address, self._host.port)
            and running.process.alive()
        )

    def _start(self, model: catalogue_pb2.Model, wanted: agent_pb2.CatalogueReference) -> RunningEngine:
        self._ready_since = None
        self._tell(BEGUN.phase, BEGUN.words, BEGUN.percent)
        check_host(model, self._host)
        self._memory.install_gate(model)
        self._memory.turn_log()
        self._open_calls.start_anew()
        plan = launch(model, self._host)
        try:
            with no_capabilities():
                started = spawn_detached(plan.argv, plan.environment, self._memory.log)
        except OSError as error:
            raise EngineFault(f"{plan.argv[0]} cannot be run ({error.strerror})", again=False) from error
        running = RunningEngine(started, wanted.model_id, wanted.digest, self._host.address, self._host.port)
        self._note(running)
        log.info("started the engine for %s, pid %d", wanted.model_id, started.pid)
        return running

    async def _end(self, running: RunningEngine) -> None:
        """End the engine and all its processes, after the grace where calls run."""
        if session_members(running.process):
            self._tell(agent_pb2.ENGINE_PHASE_STOPPING, "ending the engine")
            self._memory.set_draining(True)
            await self._let_calls_end()
            if not await end_session(running.process, TERMINATE_S):
                raise EngineFault("its processes do not end, not even by SIGKILL: see `ps -ef`")
        self._ready_since = None
        self.figures = Figures(0, 0, None)
        self._note(None)

    async def _let_calls_end(self) -> None:
        """By what the journal says, which an engine that the daemon has just adopted has as well."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._grace_s):
                while calls := self.open_calls():
                    noun = "call has" if calls == 1 else "calls have"
                    words = f"ending the engine once {calls} running {noun} ended"
                    if words != self.status.detail:
                        self._tell(agent_pb2.ENGINE_PHASE_STOPPING, words)
                    await asyncio.sleep(LOOK_S)

    def _note(self, running: RunningEngine | None) -> None:
        self._memory.set_running(running)
        self._running = running
        self._set_gate()

    def _set_gate(self) -> None:
        """An engine whose model is not wanted any more takes no new call until it is ended."""
        wanted = (self.desired.model_id, self.desired.digest)
        leaves = self._running is not None and (self._running.model_id, self._running.digest) != wanted
        self._memory.set_draining(self.desired.drained or leaves)

    async def _watch(self, running: RunningEngine, model: catalogue_pb2.Model) -> None:
        """Until something else is asked for. Raises EngineFault when the engine goes down or falls silent."""
        self._client = self._client_for(model.served_name)
        ended = asyncio.create_task(exit_status(running.process))
        asked = asyncio.create_task(self._asked.wait())
        tended = asyncio.create_task(self._tend(model))
        tasks = {ended, asked, tended}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                raise EngineFault("went down: " + cause(ended.result(), self._memory.log_tail()))
            if tended.done():
                await end_session(running.process, TERMINATE_S)
                tended.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _tend(self, model: catalogue_pb2.Model) -> None:
        """Bring it to READY by what the log says and a probe, then measure it. Ends by EngineFault only."""
        clock = asyncio.get_running_loop().time
        if self._ready_since is None:
            try:
                async with asyncio.timeout(LOADING_LIMIT_S):
                    await self._follow_loading()
                    await self._client.probe(model.kind)
            except TimeoutError as error:
                raise EngineFault(f"was not ready after {LOADING_LIMIT_S:.0f} s") from error
            except EngineSilent as error:
                raise EngineFault(f"is up but fails its probe: {error}") from error
            self._ready_since = clock()
            self._tell_ready()
        heard = clock()
        while True:
            try:
                await self.measure()
                heard = clock()
            except EngineSilent as error:
                if clock() - heard > SILENCE_LIMIT_S:
                    raise EngineFault(f"answered nothing for {SILENCE_LIMIT_S:.0f} s: {error}") from error
            await asyncio.sleep(MEASURE_S)

    async def _follow_loading(self) -> None:
        progress, offset = BEGUN, 0
        while not await self._client.healthy():
            text = self._memory.log_since(offset)
            offset += len(text)
            after = advance(progress, text.decode(errors="replace"))
            if after != progress:
                progress = after
                self._tell(progress.phase, progress.words, progress.percent)
            await asyncio.sleep(LOOK_S)

    async def _back_off(self, fault: EngineFault, failures: int) -> None:
        # Full jitter would allow no wait at all; half of it keeps a crashing engine from spinning.
        wait_s = min(BACKOFF_MAX_S, 2.0 ** max(0, failures - 1)) * random.uniform(0.5, 1)  # noqa: S311
        self.restarts_count += 1
        self._tell(agent_pb2.ENGINE_PHASE_BACKING_OFF, f"{fault}; trying again in {wait_s:.1f} s")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._asked.wait()

    async def _fail(self, words: str) -> None:
        log.error("the engine has failed: %s", words)
        self._tell(agent_pb2.ENGINE_PHASE_FAILED, f"{words}. Its log is {self._memory.log}")
        await self._asked.wait()

    def _settled(self) -> bool:
        now = asyncio.get_running_loop().time()
        return self._ready_since is not None and now - self._ready_since >= SETTLED_S

    def _tell_ready(self) -> None:
        if self.desired.drained:
            self._tell(agent_pb2.ENGINE_PHASE_DRAINING, "takes no new calls", 100)
        else:
            self._tell(agent_pb2.ENGINE_PHASE_READY, "ready", 100)

    def _tell(self, phase: Phase, detail: str, percent: int = 0) -> None:
        self.status = Status(phase, detail, percent)
        told, self._told = self._told, asyncio.Event()
        told.set()


def check_host(model: catalogue_pb2.Model, host: Host) -> None:
    """What can be known to fail before anything is started. Raises EngineFault."""
    if not os.access(host.engine_python, os.X_OK):
        raise EngineFault(f"its Python, {host.engine_python}, is not there: see engine_python", again=False)
    directory = model_directory(model, host.models)
    if directory is not None and not (directory / "config.json").is_file():
        raise EngineFault(f"{directory}, the model's directory, is missing or holds no model", again=False)
    family = socket.AF_INET6 if ":" in host.address else socket.AF_INET
    with socket.socket(family) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host.address, host.port))
            # Binding alone succeeds beside a listener of the same user; listening does not.
            listening.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise EngineFault(
                    f"port {host.port} on {host.address} is taken by another program "
                    f"(`ss -ltnp 'sport = :{host.port}'` shows which)"
                ) from error
            # The tunnel comes and goes by itself: no reason to give up.
            raise EngineFault(
                f"cannot listen on {host.address} ({error.strerror}): is the tunnel up?", counts=False
            ) from error
