"""The hub's interface with its firewall: brought up, adopted, read, changed and taken down."""

import asyncio
import json
import logging
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from control_plane.tunnel.commands import CommandFailed, run
from control_plane.tunnel.conditions import HubError
from control_plane.tunnel.machine import check_machine, udp_port_taken
from control_plane.tunnel.network import MTU_BYTES, HubNetwork
from control_plane.tunnel.peers import Difference, Interface, parse_dump
from control_plane.tunnel.rules import no_rules, rules
from control_plane.tunnel.userspace import WireguardGo

logger = logging.getLogger(__name__)

# From the interface coming up to its port being bound.
BIND_TIMEOUT_S = 2.0
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """What the interface is to be."""

    name: str
    network: HubNetwork
    port: int
    private_key_file: Path
    public_key: str


class Link:
    """One WireGuard interface: the kernel's where it has WireGuard, wireguard-go's where not."""

    def __init__(self, settings: LinkSettings) -> None:
        self._settings = settings
        self._name = settings.name
        self._userspace = WireguardGo(settings.name)
        # Rules and interface of this name are ours to remove.
        self._ours = False
        # Of the interface as it was brought up.
        self._index: int | None = None

    @property
    def is_up(self) -> bool:
        """Whether the interface is the one that was brought up: a killed wireguard-go takes it along."""
        return self._index is not None and _index(self._name) == self._index

    async def bring_up(self) -> None:
        """Makes the interface, or adopts the one that a hub before this one left. Raises HubError."""
        check_machine()
        try:
            there = _index(self._name) is not None
            if there:
                await self._check_ours()
                logger.info("adopting the tunnel's interface", extra={"interface": self._name})
            else:
                self._check_free()
            self._ours = True
            # Before the interface, so that there is no moment without them.
            await self.apply_rules()
            if not there:
                await self._create()
            self._index = _index(self._name)
            await self._configure()
        except CommandFailed as error:
            raise HubError(_advice(error)) from error

    async def apply_rules(self) -> None:
        """In one step, so that it can be repeated at any time. Raises CommandFailed."""
        await run("nft", rules(self._name, self._settings.network))

    async def read(self) -> Interface:
        """Raises CommandFailed, UnreadableDump."""
        return parse_dump(await run("wg", "show", self._name, "dump"))

    async def apply(self, difference: Difference) -> None:
        """Where a batch fails its steps are done one by one, so that one bad peer keeps no other out."""
        for command in difference.commands(self._name):
            try:
                await run(*command)
            except CommandFailed:
                logger.warning("peers are set one by one", extra={"interface": self._name})
                break
        else:
            return
        for step in difference.steps:
            try:
                await run("wg", "set", self._name, *step.arguments())
            except CommandFailed as error:
                logger.error("a peer could not be set: %s", error)  # noqa: TRY400 - its words say it all

    async def rebuild(self) -> None:
        """For an interface that is gone or does not answer. The rules stay throughout. Raises HubError."""
        await self._remove()
        await self.bring_up()

    async def take_down(self) -> None:
        """Interface, process, socket and rules, as far as they are ours and still there."""
        if not self._ours:
            return
        await self._remove()
        # Last: until the interface is gone, the rules must hold.
        await _try("nft", no_rules(self._name))
        self._ours = False

    async def _remove(self) -> None:
        pid = self._userspace.pid()
        if _index(self._name) is not None:
            await _try("ip", "link", "delete", "dev", self._name)
        await self._userspace.stop(pid)
        self._index = None

    def _check_free(self) -> None:
        if pid := self._userspace.pid():
            raise HubError(
                f"another network namespace has a WireGuard interface {self._name} (process {pid}), and these"
                " names are shared: choose another hub_interface"
            )
        if udp_port_taken(self._settings.port):
            raise HubError(
                f"UDP port {self._settings.port} is in use: stop the program that holds it"
                f" (`ss -lunp sport = {self._settings.port}`) or choose another hub_port"
            )

    async def _check_ours(self) -> None:
        """Raises HubError for an interface that is somebody else's."""
        shown = json.loads(await run("ip", "-json", "-details", "link", "show", "dev", self._name))
        kind = shown[0].get("linkinfo", {}).get("info_kind", "none")
        if kind not in ("wireguard", "tun"):
            raise HubError(
                f"interface {self._name} exists and is not WireGuard: choose another hub_interface"
            )
        state = await self.read()
        if state.public_key not in (None, self._settings.public_key):
            raise HubError(
                f"interface {self._name} has another WireGuard key than {self._settings.private_key_file}:"
                f" choose another hub_interface, or `ip link delete {self._name}` if nobody needs it"
            )

    async def _create(self) -> None:
        try:
            await run("ip", "link", "add", "dev", self._name, "type", "wireguard")
        except CommandFailed as error:
            if "Unknown device type" not in error.words and "not supported" not in error.words:
                raise
            await self._userspace.start()

    async def _configure(self) -> None:
        """Changes nothing where all is as it should be. Raises CommandFailed, HubError."""
        name, network, port = self._name, self._settings.network, self._settings.port
        state = await self.read()
        if state.public_key is None:
            await run("wg", "set", name, "private-key", str(self._settings.private_key_file))
        if state.listen_port != port:
            await run("wg", "set", name, "listen-port", str(port))
        # No address of its own choice: only ours travels through the tunnel.
        await run("ip", "link", "set", "dev", name, "addrgenmode", "none")
        await run("ip", "link", "set", "dev", name, "mtu", str(MTU_BYTES), "up")
        # Without duplicate address detection: until it has ended, which on a busy machine is after the next
        # command, an address is no valid source.
        quick = ("nodad",) if ":" in network.hub_address else ()
        await run("ip", "address", "replace", network.host_prefix(network.hub_address), "dev", name, *quick)
        await run("ip", "route", "replace", str(network), "dev", name, "src", network.hub_address)
        deadline = time.monotonic() + BIND_TIMEOUT_S
        # wireguard-go says in its log alone that it could not have the port.
        while not udp_port_taken(port):
            if time.monotonic() > deadline:
                raise HubError(f"WireGuard did not take UDP port {port} within {BIND_TIMEOUT_S:.0f} s")
            await asyncio.sleep(_POLL_S)


def _index(name: str) -> int | None:
    """The interface's number in this network namespace; another one of the same name has another number."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return None


async def _try(*command: str) -> None:
    try:
        await run(*command)
    except CommandFailed as error:
        logger.warning("could not clear up: %s", error)


def _advice(error: CommandFailed) -> str:
    words = error.words.lower()
    if "ipv6 is disabled" in words or ("permission denied" in words and "address" in str(error)):
        return (
            "IPv6 is off on this machine: `sysctl net.ipv6.conf.all.disable_ipv6=0`, or choose an IPv4"
            f" network when the control plane is made ({error})"
        )
    if "operation not permitted" in words:
        return f"the hub may not change this machine's network: run `daalu hub` as root ({error})"
    return str(error)
