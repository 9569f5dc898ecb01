"""The hub's network: which addresses there are, and the choice of one for an agent. Pure."""

import ipaddress
from collections.abc import Callable, Container
from dataclasses import dataclass

from daalu_wire.v1 import enrolment_pb2

MTU_BYTES = 1280
KEEPALIVE_S = 25
HUB_PREFIX_V6 = 64
# A smaller IPv4 network would run out: an agent's address is never given to another one.
MAX_PREFIX_V4 = 24
# Random tries before a small network's addresses are gone through one by one.
MAX_TRIES = 64

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class NetworkFull(Exception):
    """Every address of the hub's network was given to an agent, some of which may be revoked."""


class UnusableNetwork(ValueError):
    """A network that cannot carry tunnels; the message says which could."""


@dataclass(frozen=True, slots=True)
class HubNetwork:
    """The network of one hub and its agents: an IPv6 /64, or a private IPv4 network."""

    network: ipaddress.IPv4Network | ipaddress.IPv6Network

    @classmethod
    def parse(cls, text: str) -> "HubNetwork":
        """Raises UnusableNetwork."""
        try:
            network = ipaddress.ip_network(text)
        except ValueError as error:
            raise UnusableNetwork(f"{text!r} is not a network: {error}") from None
        if network.version == 6 and network.prefixlen != HUB_PREFIX_V6:
            raise UnusableNetwork(f"{text}: an IPv6 network of a hub is a /{HUB_PREFIX_V6}")
        if network.version == 4 and network.prefixlen > MAX_PREFIX_V4:
            raise UnusableNetwork(f"{text}: an IPv4 network must be a /{MAX_PREFIX_V4} or larger")
        if not network.is_private or network.is_loopback or network.is_link_local:
            raise UnusableNetwork(f"{text} is not a private network: use one of 10.0.0.0/8 or fd00::/8")
        return cls(network)

    @property
    def is_ipv6(self) -> bool:
        return self.network.version == 6

    @property
    def hub_address(self) -> str:
        return str(self.network[1])

    def host_prefix(self, address: str) -> str:
        """The network of one address alone, as WireGuard's allowed addresses are written."""
        return f"{address}/{self.network.max_prefixlen}"

    def __contains__(self, address: str) -> bool:
        return ipaddress.ip_address(address) in self.network

    def __str__(self) -> str:
        return str(self.network)


def new_deployment_network(random_bits: int) -> ipaddress.IPv6Network:
    """A /48 of fd00::/8 (RFC 4193) from 40 random bits, so that no other network is likely to collide."""
    return ipaddress.IPv6Network(((0xFD << 40 | random_bits & (1 << 40) - 1) << 80, 48))


def hub_network_of(deployment: ipaddress.IPv6Network) -> HubNetwork:
    """The /64 of the deployment's first hub."""
    return HubNetwork(ipaddress.IPv6Network((int(deployment.network_address), HUB_PREFIX_V6)))


def free_address(network: HubNetwork, taken: Container[str], below: Callable[[int], int]) -> str:
    """An address that is neither the hub's nor in `taken`; `below(n)` gives a random number under n.

    Raises NetworkFull.
    """
    # Left out: the network's own address, the hub's, and the last, which is IPv4's broadcast.
    first, count = 2, network.network.num_addresses - 3
    for _ in range(MAX_TRIES):
        address = str(network.network[first + below(count)])
        if address not in taken:
            return address
    if count > 1 << 20:
        raise NetworkFull(f"no free address found in {network} in {MAX_TRIES} random tries")
    for offset in range(count):
        address = str(network.network[first + offset])
        if address not in taken:
            return address
    raise NetworkFull(f"every address of {network} was given to an agent: a larger network is needed")


def tunnel_configuration(
    network: HubNetwork, *, agent_address: str, hub_public_key: str, hub_endpoint: str
) -> enrolment_pb2.TunnelConfiguration:
    """What an agent needs to bring its end up. `hub_endpoint`: host and UDP port, as seen from outside."""
    return enrolment_pb2.TunnelConfiguration(
        agent_address=agent_address,
        hub_address=network.hub_address,
        network=str(network),
        hub_public_key=hub_public_key,
        hub_endpoint=hub_endpoint,
        mtu_bytes=MTU_BYTES,
        keepalive_s=KEEPALIVE_S,
    )
