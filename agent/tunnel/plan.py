"""What the interface should be, and the commands from what it is to there: pure."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from agent.identity import TunnelSettings
from agent.tunnel.readings import Device, Interface, Peer

# A live tunnel shakes hands every 120 s and rejects its keys at 180 s.
STALE_HANDSHAKE_S = 180

Command = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    interface: str
    public_key: str
    # The file that `wg` reads the private key from.
    private_key_file: str
    settings: TunnelSettings
    # Address and port to set; None leaves what the peer has.
    endpoint: str | None


def difference(wanted: Wanted, device: Device, interface: Interface) -> list[Command]:
    """The commands to run, in order; none where all is as wanted.

    The hub's peer is never removed to be added again: that costs the tunnel 12 s.
    """
    settings, name = wanted.settings, wanted.interface
    commands: list[Command] = []
    if device.public_key != wanted.public_key:
        commands.append(("wg", "set", name, "private-key", wanted.private_key_file))
    commands += [
        ("wg", "set", name, "peer", key, "remove")
        for key in sorted(device.peers)
        if key != settings.hub_public_key
    ]
    change = _peer_change(wanted, device.peers.get(settings.hub_public_key))
    if change:
        commands.append(("wg", "set", name, "peer", settings.hub_public_key, *change))
    if interface.mtu_bytes != settings.mtu_bytes:
        commands.append(("ip", "link", "set", "dev", name, "mtu", str(settings.mtu_bytes)))
    address = host_prefix(settings.agent_address)
    commands += [
        ("ip", "address", "delete", other, "dev", name) for other in sorted(interface.addresses - {address})
    ]
    if address not in interface.addresses:
        # Without duplicate address detection, whose wait would keep the engine from binding.
        quick = ("nodad",) if ":" in address else ()
        commands.append(("ip", "address", "replace", address, "dev", name, *quick))
    if not interface.up:
        commands.append(("ip", "link", "set", "dev", name, "up"))
    hub = str(ipaddress.ip_address(settings.hub_address))
    if not interface.up or hub not in interface.routes:
        commands.append(("ip", "route", "replace", host_prefix(hub), "dev", name))
    return commands


def _peer_change(wanted: Wanted, peer: Peer | None) -> Command:
    allowed = host_prefix(wanted.settings.hub_address)
    keepalive = wanted.settings.keepalive_s
    change: Command = ()
    if wanted.endpoint is not None and (peer is None or peer.endpoint != wanted.endpoint):
        change += ("endpoint", wanted.endpoint)
    if peer is None or peer.allowed != {allowed}:
        change += ("allowed-ips", allowed)
    if peer is None or peer.keepalive_s != keepalive:
        change += ("persistent-keepalive", str(keepalive))
    return change


def is_stale(peer: Peer | None, now_unix_s: float) -> bool:
    """The hub may have moved: its name is worth resolving again."""
    return (
        peer is None or peer.endpoint is None or now_unix_s - peer.latest_handshake_unix_s > STALE_HANDSHAKE_S
    )


def choose_endpoint(current: str | None, resolved: Sequence[str]) -> str | None:
    """For a hub that does not answer: the address after the current one, so that all get their turn."""
    if not resolved:
        return None
    if current in resolved:
        return resolved[(resolved.index(current) + 1) % len(resolved)]
    return resolved[0]


def host_prefix(address: str) -> str:
    """A single address in CIDR form: /128, or /32."""
    return str(ipaddress.ip_network(address))
