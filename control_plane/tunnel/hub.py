"""The hub: keeps interface, peers and firewall equal to the store, until it is told to stop."""

import asyncio
import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from control_plane.config import Settings
from control_plane.store import Store, watch
from control_plane.store.tables import ChangeKind
from control_plane.tunnel.addressing import choose_network
from control_plane.tunnel.commands import CommandFailed
from control_plane.tunnel.conditions import HubError
from control_plane.tunnel.endpoints import load_endpoints, save_endpoints
from control_plane.tunnel.keys import HubKeyUnusable, hub_public_key
from control_plane.tunnel.link import Link, LinkSettings
from control_plane.tunnel.machine import check_machine, only_one
from control_plane.tunnel.network import HubNetwork
from control_plane.tunnel.peers import Difference, UnreadableDump, difference
from control_plane.tunnel.queries import wanted_peers

logger = logging.getLogger(__name__)

# Whether the interface is still there is one system call.
LOOK_EVERY_S = 0.5
# Peers' endpoints, remembered for a rebuilt interface, and what others changed behind our back.
OBSERVE_EVERY_S = 2.0
# Store and rules, though no change was announced.
RECONCILE_EVERY_S = 30.0
# An interface that does not answer this often in a row is built anew.
MAX_SILENCE = 3
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 10.0
MAX_LOGGED_PEERS = 20
# Beside the hub's key.
ENDPOINTS_FILE = "endpoints.json"


def run_hub(settings: Settings) -> None:
    """`daalu hub`: blocks until SIGTERM or SIGINT, then takes everything down. Raises HubError."""
    check_machine()
    try:
        public_key = hub_public_key(settings.directory.hub_key)
        with only_one(settings.directory.hub_key.parent):
            store = Store(settings.database_url)
            try:
                asyncio.run(_run(settings, store, public_key))
            finally:
                store.close()
    except HubKeyUnusable as error:
        raise HubError(str(error)) from error
    except SQLAlchemyError as error:
        words = str(getattr(error, "orig", None) or error).strip()
        raise HubError(f"the database cannot be used: {words} (was `daalu init` run?)") from error


async def _run(settings: Settings, store: Store, public_key: str) -> None:
    network = await store.write(choose_network)
    link = Link(
        LinkSettings(
            name=settings.hub_interface,
            network=network,
            port=settings.hub_port,
            private_key_file=settings.directory.hub_key.absolute(),
            public_key=public_key,
        )
    )
    with _cancelled_by_signals():
        try:
            await Hub(store, link, network, settings.directory.hub_key.with_name(ENDPOINTS_FILE)).run()
        except asyncio.CancelledError:
            logger.info("stopping")
        finally:
            await link.take_down()


class Hub:
    """Owns the reconciliation; the interface's life is the link's."""

    def __init__(self, store: Store, link: Link, network: HubNetwork, endpoints_file: Path) -> None:
        self._store = store
        self._link = link
        self._network = network
        self._news = asyncio.Event()
        self._wanted: dict[str, str] = {}
        self._endpoints_file = endpoints_file
        self._endpoints = load_endpoints(endpoints_file)
        self._silence = 0
        self._read_at = self._observed_at = float("-inf")

    async def run(self) -> None:
        """Until cancelled. Raises HubError or SQLAlchemyError while it builds; later it tries again."""
        await self._read_store()
        await self._link.bring_up()
        await self._observe()
        logger.info("hub is up", extra={"network": str(self._network), "peers": len(self._wanted)})
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(), name="hub-follow")
            tasks.create_task(self._tend(), name="hub-tend")

    async def _follow(self) -> None:
        async for changes in watch(self._store):
            if ChangeKind.AGENT in changes.kinds:
                self._news.set()

    async def _tend(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            await self._wait(LOOK_EVERY_S)
            try:
                await self._reconcile()
                pause_s = FIRST_PAUSE_S
            except (HubError, CommandFailed, UnreadableDump, SQLAlchemyError) as error:
                # The peers stay as they are: what cannot be read must not cut off agents that work.
                logger.error("trying again in %.0f s: %s", pause_s, error)  # noqa: TRY400
                self._read_at = float("-inf")
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _wait(self, seconds: float) -> None:
        """For news, at most this long."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return

    async def _reconcile(self) -> None:
        now = time.monotonic()
        news = self._news.is_set()
        if not self._link.is_up or self._silence >= MAX_SILENCE:
            logger.warning("the tunnel's interface is gone or silent: building it anew")
            await self._link.rebuild()
            self._silence = 0
            self._observed_at = float("-inf")
        if news or now - self._read_at >= RECONCILE_EVERY_S:
            # Before the read, so that a change during it is read once more.
            self._news.clear()
            await self._read_store()
            if not news:
                await self._link.apply_rules()
        if news or now - self._observed_at >= OBSERVE_EVERY_S:
            await self._observe()

    async def _read_store(self) -> None:
        self._wanted = await self._store.read(lambda session: wanted_peers(session, self._network))
        self._read_at = time.monotonic()

    async def _observe(self) -> None:
        """Reads the interface, sets what is not as wanted, remembers where peers are."""
        try:
            peers = (await self._link.read()).peers
        except CommandFailed:
            self._silence += 1
            raise
        self._silence = 0
        self._observed_at = time.monotonic()
        change = difference(peers, self._wanted, self._endpoints)
        if change.steps:
            await self._link.apply(change)
            _log(change)
        seen = {key: peer.endpoint for key, peer in peers.items() if key in self._wanted and peer.endpoint}
        kept = {key: endpoint for key, endpoint in self._endpoints.items() if key in self._wanted}
        if kept | seen != self._endpoints:
            self._endpoints = kept | seen
            await asyncio.to_thread(save_endpoints, self._endpoints_file, self._endpoints)


def _log(change: Difference) -> None:
    for step in change.removed[:MAX_LOGGED_PEERS]:
        logger.info("peer removed", extra={"peer": step.public_key})
    for step in change.set[:MAX_LOGGED_PEERS]:
        logger.info("peer set", extra={"peer": step.public_key, "address": step.allowed})
    more = max(len(change.removed), len(change.set)) - MAX_LOGGED_PEERS
    if more > 0:
        logger.info("peers changed", extra={"removed": len(change.removed), "set": len(change.set)})


@contextmanager
def _cancelled_by_signals() -> Iterator[None]:
    """The first SIGTERM or SIGINT cancels the current task; more of them do not disturb its clearing up."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    told = False

    def tell() -> None:
        nonlocal told
        if task is not None and not told:
            told = True
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, tell)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
