"""The daemon's life: link, then engine and server beside it, and an end that leaves or takes them down."""

import asyncio
import datetime as dt
import logging
import os
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Self

from daalu_wire.v1 import agent_pb2

from agent.cards import KERNEL_LOG, CardReader, NvmlReader, SimulatedReader
from agent.config import AgentConfig
from agent.diagnostics import Examination, Subject
from agent.engine import Engine, EngineBehind, EngineSettings, has_card, left_behind
from agent.identity import Identity, State, StateError
from agent.rpc import AgentServer
from agent.status import Control, Request, Snapshot, notify, watchdog
from agent.tunnel import DirectLink, Link, Tunnel

log = logging.getLogger(__name__)


class _Stop(Exception):
    """Ends the task group."""


class Daemon:
    """One host's rooms, wired. `run` once, or `take_down` where no daemon runs."""

    def __init__(
        self, identity: Identity, state: State, link: Link, cards: CardReader, engine: Engine, models: Path
    ) -> None:
        """`models`: the directory that models lie in."""
        self._identity, self._state = identity, state
        self._link, self._cards, self._engine = link, cards, engine
        examination = Examination(Subject(cards, link, engine, state.directory, models))
        self._server = AgentServer(identity, state, cards, engine, examination)
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._takes_down = False
        self._control = Control(state.directory, self._answer)

    @classmethod
    async def build(cls, config: AgentConfig, identity: Identity, state: State) -> Self:
        """`state` is locked. Raises StateError, InvalidEntry, OSError."""
        for name in ("rpc_port", "engine_port"):
            enrolled, configured = getattr(identity, name), getattr(config, name)
            if enrolled != configured:
                log.warning("%s is %d, as enrolled, and not %d, as configured", name, enrolled, configured)
        cards = _card_reader(config, identity)
        settings = EngineSettings(
            state=config.state,
            address=identity.address,
            port=identity.engine_port,
            engine_python=config.engine_python,
            models=config.models,
            catalogue=config.catalogue,
            has_card=has_card(*await cards.inventory()),
            added_environment=dict(config.engine_environment),
        )
        return cls(identity, state, _link(config, identity, state), cards, Engine(settings), config.models)

    def stop(self, takes_down: bool) -> None:
        """Ends `run`. Without `takes_down` tunnel and engine go on, for the next daemon to adopt."""
        self._takes_down = self._takes_down or takes_down
        self._stopping.set()

    async def run(self) -> None:
        """Until `stop`. Raises TunnelError, StateError; ExceptionGroup where a room fails for good."""
        if self._identity.direct:
            log.warning("direct mode: there is NO TUNNEL, this agent serves this machine only")
        # First: engine and server bind to the link's address.
        await self._link.up()
        async with asyncio.TaskGroup() as outer:
            control = outer.create_task(self._control.run())
            try:
                await self._work()
                if self._takes_down:
                    await self.take_down()
            finally:
                # Who asked for the end over the control socket hears of it.
                self._ended.set()
                await self._control.finish()
                control.cancel()
                self.close()
        log.info("the daemon ends; tunnel and engine %s", "are down" if self._takes_down else "go on")

    async def _work(self) -> None:
        try:
            async with asyncio.TaskGroup() as rooms:
                rooms.create_task(self._link.run())
                rooms.create_task(self._engine.run())
                rooms.create_task(self._server.run())
                rooms.create_task(self._announce())
                rooms.create_task(watchdog())
                rooms.create_task(self._until_stopped())
        except* _Stop:
            notify("STOPPING=1")

    async def _announce(self) -> None:
        await self._server.listening.wait()
        notify("READY=1")

    async def _until_stopped(self) -> None:
        await self._stopping.wait()
        raise _Stop

    async def take_down(self) -> None:
        """Leaves nothing running. What is wanted stays on record: the next start brings it back."""
        await self._engine.take_down()
        await self._link.down()

    def close(self) -> None:
        self._cards.close()

    async def _answer(self, request: Request) -> bytes:
        if request is Request.DOWN:
            self.stop(takes_down=True)
            await self._ended.wait()
        return (await self.snapshot()).dump()

    async def snapshot(self) -> Snapshot:
        return await _with_cards(
            Snapshot(
                taken=dt.datetime.now(dt.UTC),
                identity=self._identity,
                daemon_pid=os.getpid(),
                certificate_expires=_certificate_expires(self._state),
                link=await self._link.status(),
                engine=self._engine.sample(),
                last_contact=self._server.last_contact,
            ),
            self._cards,
        )


async def take_down_without(config: AgentConfig, identity: Identity, state: State) -> None:
    """What `Daemon.take_down` does, for when no daemon runs. `state` is locked."""
    daemon = await Daemon.build(config, identity, state)
    try:
        await daemon.take_down()
    finally:
        daemon.close()


async def snapshot_without(config: AgentConfig, state: State) -> Snapshot:
    """What can be known while no daemon runs. Raises StateError."""
    now = dt.datetime.now(dt.UTC)
    identity = state.identity() if config.state.is_dir() else None
    cards = _card_reader(config, identity)
    try:
        if identity is None:
            return await _with_cards(Snapshot(now, None), cards)
        link = await _link(config, identity, state).status()
        expires = _certificate_expires(state)
        engine: agent_pb2.EngineSample | None = None
        faults: tuple[str, ...] = ()
        try:
            engine = left_behind(config.state)
        except StateError as error:
            faults = (str(error),)
        snapshot = Snapshot(
            now, identity, certificate_expires=expires, link=link, engine=engine, faults=faults
        )
        return await _with_cards(snapshot, cards)
    finally:
        cards.close()


async def examine(
    config: AgentConfig, state: State, running: Snapshot | None
) -> AsyncGenerator[agent_pb2.DiagnosticsProgress, None]:
    """Looks this host over from a program that is no daemon. `running`: what a running daemon says.

    Raises StateError.
    """
    identity = state.identity() if config.state.is_dir() else None
    cards = _card_reader(config, identity)
    try:
        engine = running.engine if running is not None else None
        if engine is None:
            engine = left_behind(config.state) if identity else agent_pb2.EngineSample()
        link = _link(config, identity, state) if identity else None
        behind = EngineBehind(config.state, config.catalogue, engine)
        async for progress in Examination(Subject(cards, link, behind, config.state, config.models)).run():
            yield progress
    finally:
        cards.close()


async def _with_cards(snapshot: Snapshot, cards: CardReader) -> Snapshot:
    system, found = await cards.inventory()
    _, samples = await cards.sample()
    return replace(snapshot, card_system=system, cards=tuple(found), samples=tuple(samples))


def _card_reader(config: AgentConfig, identity: Identity | None) -> CardReader:
    if config.simulated_card is None:
        return NvmlReader(kernel_log=KERNEL_LOG)
    return SimulatedReader(config.simulated_card, seed=identity.agent_id if identity else "")


def _link(config: AgentConfig, identity: Identity, state: State) -> Link:
    return DirectLink() if identity.direct else Tunnel(config.interface, identity, state)


def _certificate_expires(state: State) -> dt.datetime | None:
    try:
        return state.credentials(dt.datetime.now(dt.UTC)).expires
    except StateError as error:
        log.warning("%s", error)
        return None
