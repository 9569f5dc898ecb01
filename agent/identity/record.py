"""Who this host is, as enrolment answered: the content of identity.json."""

import ipaddress
import json
import re
from dataclasses import asdict, dataclass, fields
from typing import Any

from agent.identity.keys import parse_wireguard_key

DIRECT_ADDRESS = "127.0.0.1"
_VERSION = 1


# A host's name or an address; printed, resolved and given to `wg`.
_HOST = re.compile(r"[A-Za-z0-9_.:-]{1,253}")
# What becomes part of a DNS name.
_AGENT_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")
_TEXT_LENGTH_LIMIT = 256


@dataclass(frozen=True, slots=True)
class TunnelSettings:
    """The enrolment answer's TunnelConfiguration, checked."""

    agent_address: str
    hub_address: str
    # CIDR; what no host beside the tunnel may use.
    network: str
    hub_public_key: str
    # Host and UDP port, e.g. control.example:51820 or [2001:db8::1]:51820
    hub_endpoint: str
    mtu_bytes: int
    keepalive_s: int

    def __post_init__(self) -> None:
        agent, hub = _tunnel_address(self.agent_address), _tunnel_address(self.hub_address)
        network = ipaddress.ip_network(self.network)
        if agent == hub or agent not in network or hub not in network:
            raise ValueError(f"addresses {agent} and {hub} are not two of the network {network}")
        try:
            parse_wireguard_key(self.hub_public_key)
        except ValueError as error:
            raise ValueError("hub_public_key is no WireGuard key") from error
        if not _HOST.fullmatch(split_endpoint(self.hub_endpoint)[0]):
            raise ValueError("hub_endpoint names no host")
        # 1280 is IPv6's own floor.
        if not 1280 <= self.mtu_bytes <= 9000:
            raise ValueError(f"mtu_bytes {self.mtu_bytes} is not between 1280 and 9000")
        if not 1 <= self.keepalive_s <= 65535:
            raise ValueError(f"keepalive_s {self.keepalive_s} is not between 1 and 65535")


@dataclass(frozen=True, slots=True)
class Identity:
    """This host's place at its control plane."""

    agent_id: str
    agent_name: str
    tenant_name: str
    control_plane_url: str
    # The invite's pinned key, hexadecimal SHA-256.
    control_plane_key_sha256: str
    rpc_port: int
    engine_port: int
    # None: direct mode, no tunnel, this machine only.
    tunnel: TunnelSettings | None

    def __post_init__(self) -> None:
        if not _AGENT_ID.fullmatch(self.agent_id):
            raise ValueError("has an agent_id that is no label of a DNS name")
        # They go to terminals and logs, and come from the other end.
        for name in ("agent_name", "tenant_name", "control_plane_url"):
            text = getattr(self, name)
            if not text.isprintable() or len(text) > _TEXT_LENGTH_LIMIT:
                raise ValueError(
                    f"has a {name} with unprintable characters or more than {_TEXT_LENGTH_LIMIT}"
                )
        for name in ("rpc_port", "engine_port"):
            if not 1 <= getattr(self, name) <= 65535:
                raise ValueError(f"has a {name} that is not between 1 and 65535")

    @property
    def direct(self) -> bool:
        return self.tunnel is None

    @property
    def address(self) -> str:
        """Where the control plane reaches daemon and engine."""
        return DIRECT_ADDRESS if self.tunnel is None else self.tunnel.agent_address

    @property
    def hub_address(self) -> str:
        """The only address that may call the daemon."""
        return DIRECT_ADDRESS if self.tunnel is None else self.tunnel.hub_address

    def dump(self) -> bytes:
        return (json.dumps({"version": _VERSION, **asdict(self)}, indent=2) + "\n").encode()

    @classmethod
    def load(cls, data: bytes) -> "Identity":
        """ValueError, in words, where `data` is no identity."""
        try:
            content = json.loads(data)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"is not JSON ({error})") from error
        if not isinstance(content, dict) or content.pop("version", None) != _VERSION:
            raise ValueError(f"is not of version {_VERSION}")
        tunnel = content.pop("tunnel", None)
        settings = None if tunnel is None else TunnelSettings(**_checked(tunnel, TunnelSettings))
        return cls(tunnel=settings, **_checked(content, cls, without="tunnel"))


def _tunnel_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """ValueError unless it is one that a tunnel may have, written the one way that tools print it.

    It becomes part of firewall rules that are loaded as root: an IPv6 zone, which may hold any text, would
    be more rules; and routes and drops for an address of the wider world would cut this host off from it.
    """
    address = ipaddress.ip_address(text)
    if str(address) != text or "%" in text:
        raise ValueError(f"{text!r} is not an address in its usual form")
    if not address.is_private or address.is_link_local or address.is_unspecified:
        raise ValueError(f"{address} is no address of a private network")
    return address


def split_endpoint(endpoint: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[address]:port`. ValueError."""
    host, _, port = endpoint.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not host or (":" in host and not endpoint.startswith("[")):
        raise ValueError(f"endpoint {endpoint!r} is not host:port")
    if not port.isascii() or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise ValueError(f"endpoint {endpoint!r} has no port between 1 and 65535")
    return host, int(port)


def _checked(content: Any, kind: type[Any], without: str = "") -> dict[str, Any]:
    expected = {item.name: item.type for item in fields(kind) if item.name != without}
    if not isinstance(content, dict) or content.keys() != expected.keys():
        raise ValueError(f"does not have exactly the fields {', '.join(expected)}")
    for name, type_ in expected.items():
        if type(content[name]) is not type_:
            raise ValueError(f"has a {name} of the wrong type")
    return content
