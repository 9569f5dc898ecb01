"""Networks for a whole system: an internet of namespaces with customers behind translators, or loopback."""

import itertools
from dataclasses import dataclass
from typing import Protocol

from tests.support.netlab import Host, Lab, Link, Nat


@dataclass(frozen=True, slots=True)
class Customer:
    host: Host
    # None: no network in between.
    nat: Nat | None

    @property
    def uplink(self) -> Link:
        assert self.nat is not None, "loopback has no link to cut"
        return self.nat.inner


class Network(Protocol):
    control: Host
    # Where agents and clients reach the control plane.
    control_address: str
    client: Host
    direct: bool

    def customer(self, name: str) -> Customer: ...

    def server(self, name: str) -> tuple[Host, str]: ...


class Internet:
    """A router in the middle; control plane, clients and customers' gateways hang off it.

    The addresses are those set aside for documentation and benchmarks.
    """

    direct = False

    def __init__(self, lab: Lab, *, on_machine: bool = False) -> None:
        """`on_machine`: control plane and clients run on this machine itself, beside the namespaces."""
        self._lab = lab
        self._numbers = itertools.count(1)
        self._servers = itertools.count(80)
        self._router = lab.host("internet")
        lab.forward(self._router)
        if on_machine:
            self.control = self.client = lab.machine()
            link = lab.connect(self.control, self._router, "198.18.77.0/30")
            self.control_address = link.a_address
            # The machine gets no route into the lab: whatever calls it comes from the router's address.
            self._router.run(["nft", "-f", "-"], stdin=_masquerade(link.b_interface))
        else:
            self.control, self.client = lab.host("control"), lab.host("client")
            self.control_address = self._attach(self.control, "203.0.113.0/24")
            self._attach(self.client, "192.0.2.0/24")

    def customer(self, name: str) -> Customer:
        """A host on a private network, the same one for every customer, behind a gateway of its own."""
        host, gateway = self._lab.host(name), self._lab.host(f"{name}-gateway")
        outer = f"198.51.100.{4 * next(self._numbers)}/30"
        return Customer(
            host, self._lab.nat(host, gateway, self._router, inner="192.168.50.0/24", outer=outer)
        )

    def server(self, name: str) -> tuple[Host, str]:
        """A host that anybody reaches, and its address."""
        host = self._lab.host(name)
        return host, self._attach(host, f"198.18.{next(self._servers)}.0/24")

    def _attach(self, host: Host, network: str) -> str:
        link = self._lab.connect(self._router, host, network)
        self._lab.route(host, link.a_address)
        return link.b_address


class Loopback:
    """Everything on this machine; needs no root."""

    direct = True
    control_address = "127.0.0.1"

    def __init__(self, lab: Lab) -> None:
        self.control = self.client = self._machine = lab.machine()

    def customer(self, name: str) -> Customer:
        return Customer(self._machine, None)

    def server(self, name: str) -> tuple[Host, str]:
        """A host that anybody reaches, and its address."""
        return self._machine, self.control_address


def _masquerade(interface: str) -> str:
    return f"""
table ip daalu_internet {{
  chain out {{
    type nat hook postrouting priority 100;
    oifname "{interface}" masquerade
  }}
}}
"""
