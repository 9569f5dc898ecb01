"""The tunnel: brought up, watched, mended, and taken down on request only."""

import asyncio
import logging
import os
import random
import shutil
import socket
import time
from collections.abc import Sequence

from agent.identity import Identity, State, TunnelSettings, WireguardKey, split_endpoint
from agent.process import ProcessMark, end, ended, reap
from agent.tunnel import userspace
from agent.tunnel.commands import CommandFailed, run
from agent.tunnel.link import LinkStatus
from agent.tunnel.plan import Wanted, choose_endpoint, difference, is_stale
from agent.tunnel.readings import Device, Interface, parse_device, parse_interface
from agent.tunnel.record import RunningTunnel
from agent.tunnel.rules import rules, table_name

WATCH_INTERVAL_S = 10.0
LONGEST_PAUSE_S = 30.0
RESOLVE_TIMEOUT_S = 10.0
STOP_GRACE_S = 5.0

log = logging.getLogger(__name__)


class TunnelError(Exception):
    """The tunnel cannot be as it should be; the text says why and what to do."""


class Tunnel:
    """One interface of this host. Needs root (CAP_NET_ADMIN)."""

    def __init__(self, interface: str, identity: Identity, state: State) -> None:
        key = state.wireguard_key()
        if identity.tunnel is None or key is None:
            raise ValueError("an identity without a tunnel has no use for one")
        self._name = interface
        self._settings: TunnelSettings = identity.tunnel
        self._ports = (identity.rpc_port, identity.engine_port)
        self._key: WireguardKey = key
        self._key_file = state.wireguard_key_file
        self._record_file = state.directory / "tunnel.json"
        self._log_file = state.directory / "wireguard-go.log"
        self._process: ProcessMark | None = None
        # The rules as nft lists them after they were set; another listing means that somebody changed them.
        self._listed_rules: str | None = None

    @property
    def address(self) -> str:
        return self._settings.agent_address

    async def up(self) -> None:
        """Raises TunnelError, StateError."""
        missing = [program for program in ("ip", "wg", "nft") if shutil.which(program) is None]
        if missing:
            raise TunnelError(
                f"missing on this host: {', '.join(missing)} "
                "(apt-get install iproute2 wireguard-tools nftables)"
            )
        recorded = RunningTunnel.load(self._record_file)
        if recorded is not None and recorded.interface != self._name:
            await _take_down(recorded.interface, recorded.process)
        try:
            await self._make_so()
        except (CommandFailed, OSError) as error:
            hint = "" if os.geteuid() == 0 else "; a tunnel needs root (sudo daalu-agent run)"
            raise TunnelError(f"tunnel {self._name}: {error}{hint}") from error

    async def run(self) -> None:
        failures = 0
        while True:
            await self._wait(failures)
            try:
                await self._make_so()
                failures = 0
            except (CommandFailed, TunnelError, OSError) as error:
                failures += 1
                log.warning("tunnel %s is not as it should be, trying again: %s", self._name, error)

    async def down(self) -> None:
        """Raises CommandFailed, StateError. What is not this host's own stays."""
        recorded = RunningTunnel.load(self._record_file)
        if recorded is not None:
            await _take_down(recorded.interface, recorded.process)
        elif await self._is_ours():
            await _take_down(self._name, None)
        else:
            await _remove_rules(self._name)
        self._record_file.unlink(missing_ok=True)
        self._log_file.unlink(missing_ok=True)
        self._process = self._listed_rules = None

    async def status(self) -> LinkStatus:
        try:
            interface, device = await self._read()
        except (CommandFailed, TunnelError) as error:
            return LinkStatus(f"cannot be read: {error}", self.address, self._name)
        if interface is None or device is None:
            return LinkStatus("down", self.address, self._name, self._settings.hub_endpoint)
        peer = device.peers.get(self._settings.hub_public_key)
        process = userspace.listener(self._name)
        kind = "kernel WireGuard" if process is None else f"wireguard-go, process {process}"
        state = "does not hear the hub" if is_stale(peer, time.time()) else "up"
        return LinkStatus(
            f"{state} ({kind})",
            self.address,
            self._name,
            self._settings.hub_endpoint,
            peer.latest_handshake_unix_s if peer else 0,
            peer.received_bytes if peer else 0,
            peer.sent_bytes if peer else 0,
            process,
        )

    async def _make_so(self) -> None:
        """One round: reads, compares, applies the difference."""
        interface, device = await self._read()
        if device is not None:
            self._refuse_foreign(device)
        # The rules come before the interface carries anything.
        await self._guard()
        if interface is None or device is None:
            await self._create()
            interface, device = await self._read()
            if interface is None or device is None:
                raise TunnelError(f"interface {self._name} vanished while it was being made")
        elif self._process is None:
            self._adopt()
        peer = device.peers.get(self._settings.hub_public_key)
        endpoint = None
        if is_stale(peer, time.time()):
            endpoint = choose_endpoint(peer.endpoint if peer else None, await self._resolve())
        wanted = Wanted(self._name, self._key.public, str(self._key_file), self._settings, endpoint)
        for command in difference(wanted, device, interface):
            await run(command)

    async def _read(self) -> tuple[Interface | None, Device | None]:
        family = "-6" if ":" in self.address else "-4"
        try:
            addresses = await run(("ip", "-j", "-d", "address", "show", "dev", self._name))
            routes = await run(("ip", "-j", family, "route", "show", "dev", self._name))
        except CommandFailed as error:
            if "does not exist" in error.words or "Cannot find device" in error.words:
                return None, None
            raise
        interface = parse_interface(addresses, routes)
        if interface.kind not in ("wireguard", "tun"):
            raise TunnelError(
                f"interface {self._name} exists and is no WireGuard but {interface.kind}: "
                "choose another name with --interface"
            )
        if interface.kind == "tun" and userspace.listener(self._name) is None:
            return interface, None
        return interface, parse_device(await run(("wg", "show", self._name, "dump")))

    async def _create(self) -> None:
        """The kernel's own interface if it can be had, else wireguard-go's."""
        recorded = RunningTunnel.load(self._record_file)
        if recorded and recorded.process and recorded.interface == self._name:
            # It runs without its interface or its socket: of no use to anybody.
            await end(recorded.process, STOP_GRACE_S)
        if userspace.listener(self._name) is not None:
            raise TunnelError(
                f"the name {self._name} is in use by a WireGuard interface elsewhere on this machine "
                "(another network namespace): choose another with --interface"
            )
        try:
            await run(("ip", "link", "add", "dev", self._name, "type", "wireguard"))
            process = None
        except CommandFailed as kernel:
            try:
                process = await userspace.start(self._name, self._log_file)
            except userspace.NoUserspace as error:
                raise TunnelError(
                    f"no WireGuard to be had: the kernel says {kernel.words!r}, and {error}"
                ) from error
        self._process = process
        RunningTunnel(self._name, process).save(self._record_file)
        log.info("tunnel %s made (%s)", self._name, "wireguard-go" if process else "kernel")

    def _adopt(self) -> None:
        pid = userspace.listener(self._name)
        self._process = None if pid is None else ProcessMark.of(pid)
        RunningTunnel(self._name, self._process).save(self._record_file)
        log.info("tunnel %s adopted (%s)", self._name, f"wireguard-go, process {pid}" if pid else "kernel")

    async def _guard(self) -> None:
        table = ("nft", "-s", "list", "table", "inet", table_name(self._name))
        try:
            listed = await run(table)
        except CommandFailed:
            listed = None
        if listed is None or listed != self._listed_rules:
            await run(("nft", "-f", "-"), rules(self._name, self._settings, self._ports))
            self._listed_rules = await run(table)

    async def _resolve(self) -> list[str]:
        """The hub's addresses as `wg` prints endpoints; empty where its name cannot be resolved now."""
        host, port = split_endpoint(self._settings.hub_endpoint)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT_S):
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except (TimeoutError, socket.gaierror) as error:
            log.warning("the hub's name %s cannot be resolved: %s", host, error)
            return []
        addresses = [str(item[4][0]) for item in found]
        return [f"[{address}]:{port}" if ":" in address else f"{address}:{port}" for address in addresses]

    async def _wait(self, failures: int) -> None:
        """Until the next round is due, or wireguard-go has ended; longer, with jitter, after failures."""
        pause_s = WATCH_INTERVAL_S
        if failures:
            pause_s = random.uniform(0.5, min(LONGEST_PAUSE_S, 2.0**failures))  # noqa: S311
        descriptor = self._process.open() if self._process else None
        if descriptor is not None:
            try:
                if await ended(descriptor, pause_s):
                    reap(descriptor)
                    log.warning("wireguard-go of tunnel %s has ended: making it anew", self._name)
                    self._process = None
            finally:
                os.close(descriptor)
        elif failures or self._process is None:
            await asyncio.sleep(pause_s)
        else:
            self._process = None

    def _refuse_foreign(self, device: Device) -> None:
        if device.public_key in (None, self._key.public):
            return
        recorded = RunningTunnel.load(self._record_file)
        if recorded is None or recorded.interface != self._name:
            raise TunnelError(
                f"interface {self._name} belongs to somebody else (its public key is {device.public_key}): "
                f"choose another with --interface, or remove it (ip link delete dev {self._name})"
            )

    async def _is_ours(self) -> bool:
        try:
            _, device = await self._read()
        except (CommandFailed, TunnelError):
            return False
        return device is not None and device.public_key == self._key.public


async def _take_down(interface: str, process: ProcessMark | None) -> None:
    pid = userspace.listener(interface)
    for mark in (process, None if pid is None else ProcessMark.of(pid)):
        if mark is not None:
            await end(mark, STOP_GRACE_S)
    userspace.remove_stale_socket(interface)
    await _run_unless_gone(("ip", "link", "delete", "dev", interface), "Cannot find device")
    # Last: until the interface is gone they guard it.
    await _remove_rules(interface)
    log.info("tunnel %s taken down", interface)


async def _remove_rules(interface: str) -> None:
    await _run_unless_gone(("nft", "delete", "table", "inet", table_name(interface)), "No such file")


async def _run_unless_gone(command: Sequence[str], words: str) -> None:
    try:
        await run(command)
    except CommandFailed as error:
        if words not in error.words:
            raise
