"""What `wg` and `ip` print, parsed once into values."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

_NONE = "(none)"


@dataclass(frozen=True, slots=True)
class Peer:
    # As `wg` prints it; None: not known yet.
    endpoint: str | None
    allowed: frozenset[str]
    # 0: off.
    keepalive_s: int
    # 0: never.
    latest_handshake_unix_s: int
    received_bytes: int
    sent_bytes: int


@dataclass(frozen=True, slots=True)
class Device:
    """WireGuard's side of an interface."""

    # None: it has no key yet.
    public_key: str | None
    peers: Mapping[str, Peer]


@dataclass(frozen=True, slots=True)
class Interface:
    """The network's side of an interface."""

    # wireguard for the kernel's own, tun for wireguard-go's, other words for what is neither.
    kind: str
    up: bool
    mtu_bytes: int
    # Global ones, as address/length.
    addresses: frozenset[str]
    # Destinations, as `ip` prints them: without a length where it is a single address.
    routes: frozenset[str] = field(default_factory=frozenset)


def parse_device(dump: str) -> Device:
    """Of `wg show INTERFACE dump`. Its first field is the private key, which is left where it is."""
    lines = [line.split("\t") for line in dump.splitlines()]
    peers = {
        line[0]: Peer(
            endpoint=None if line[2] == _NONE else line[2],
            allowed=frozenset() if line[3] == _NONE else frozenset(line[3].split(",")),
            latest_handshake_unix_s=int(line[4]),
            received_bytes=int(line[5]),
            sent_bytes=int(line[6]),
            keepalive_s=0 if line[7] == "off" else int(line[7]),
        )
        for line in lines[1:]
    }
    public_key = lines[0][1]
    return Device(None if public_key == _NONE else public_key, peers)


def parse_interface(address_json: str, routes_json: str) -> Interface:
    """Of `ip -j -d address show dev X` and `ip -j route show dev X`."""
    (facts,) = (entry for entry in json.loads(address_json) if entry)
    return Interface(
        kind=facts.get("linkinfo", {}).get("info_kind", facts["link_type"]),
        up="UP" in facts["flags"],
        mtu_bytes=facts["mtu"],
        addresses=frozenset(
            f"{entry['local']}/{entry['prefixlen']}"
            for entry in facts["addr_info"]
            if entry.get("scope") == "global"
        ),
        routes=frozenset(route["dst"] for route in json.loads(routes_json or "[]")),
    )
