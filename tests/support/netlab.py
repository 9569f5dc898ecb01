"""A network of our own: hosts are namespaces, links are veth pairs, a gateway may translate addresses.

Everything that a lab makes carries its owner's process in its name and is removed when the lab ends, also
on a failure. What a killed owner left behind is removed by the next lab.
"""

import ctypes
import ipaddress
import itertools
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.namespaces import (
    COMMAND_TIMEOUT_S,
    NAMESPACES,
    STOP_TIMEOUT_S,
    LabError,
    end_processes,
    new_name,
    pids_in,
    remove,
    remove_interface,
    remove_leftovers,
    run_command,
)

CLONE_NEWNET = 0x40000000
# An interface name's limit in the kernel, its final zero byte left out.
INTERFACE_NAME_LIMIT = 15

_WIREGUARD_SOCKETS = Path("/var/run/wireguard")
_numbers = itertools.count(1)
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Link:
    """A veth pair. Unpacks into its two addresses, without prefix length."""

    a: "Host"
    b: "Host"
    a_interface: str
    b_interface: str
    a_address: str
    b_address: str

    def __iter__(self) -> Iterator[str]:
        return iter((self.a_address, self.b_address))

    def cut(self) -> None:
        """Packets vanish both ways, as with a pulled cable: addresses and routes stay."""
        for host, interface in ((self.a, self.a_interface), (self.b, self.b_interface)):
            host.run(["nft", "-f", "-"], stdin=_cut_rules(interface))

    def restore(self) -> None:
        for host, interface in ((self.a, self.a_interface), (self.b, self.b_interface)):
            host.run(["nft", "delete", "table", "netdev", f"cut_{interface}"])

    def remove(self) -> None:
        """What stays on this machine when the namespace at the other end goes."""
        for host, interface in ((self.a, self.a_interface), (self.b, self.b_interface)):
            if host.is_machine:
                # Added first, because deleting what is not there is an error.
                table = f"table netdev cut_{interface}"
                host.run(["nft", "-f", "-"], stdin=f"add {table}\ndelete {table}\n")
                remove_interface(interface)


@dataclass(frozen=True, slots=True)
class Nat:
    """`inside` reaches the world through a gateway that lets nothing in."""

    inner: Link
    outer: Link


class Host:
    """One namespace, made by Lab.host; or this machine as it is (namespace empty), from Lab.machine."""

    def __init__(self, namespace: str, name: str) -> None:
        self.namespace = namespace
        self.name = name
        self._processes: list[subprocess.Popen[Any]] = []
        self._interfaces = itertools.count()

    @property
    def is_machine(self) -> bool:
        return not self.namespace

    def run(
        self, command: Sequence[str], *, stdin: str | None = None, check: bool = True, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Runs `command` to its end, at most COMMAND_TIMEOUT_S. LabError where it fails."""
        options.setdefault("timeout", COMMAND_TIMEOUT_S)
        return run_command(self._inside(command), stdin=stdin, check=check, **options)

    def popen(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Starts `command`; it is ended with the lab, if not before. Its pid is the command's own."""
        process = subprocess.Popen(self._inside(command), **options)
        self._processes.append(process)
        return process

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is in this host: sockets opened now stay in it, also afterwards."""
        if self.is_machine:
            yield
            return
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            here = os.open(NAMESPACES / self.namespace, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _setns(here)
            finally:
                os.close(here)
            try:
                yield
            finally:
                _setns(home)
        finally:
            os.close(home)

    def pids(self) -> list[int]:
        """Every process in this host, also those that its processes left behind."""
        return pids_in(self.namespace)

    def stop(self) -> None:
        """Ends what runs here: asked first, then killed."""
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for process in self._processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_TIMEOUT_S)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    stream.close()
        self._processes.clear()
        if not self.is_machine:
            end_processes(self.namespace)

    def remove(self) -> None:
        """Links and rules go with the namespace."""
        if not self.is_machine:
            remove(self.namespace)

    def new_interface(self) -> str:
        if self.is_machine:
            return f"veth{_base36(os.getpid())}x{_base36(next(_numbers))}"
        return f"eth{next(self._interfaces)}"

    def where(self) -> str:
        """The namespace as `ip link ... netns` takes it."""
        return self.namespace or str(os.getpid())

    def _inside(self, command: Sequence[str]) -> list[str]:
        return [*([] if self.is_machine else ["ip", "netns", "exec", self.namespace]), *command]


class Lab:
    """Use as a context manager. Needs root."""

    def __init__(self) -> None:
        self.hosts: list[Host] = []
        self._subnets = itertools.count(1)
        self._wireguard_names: list[str] = []
        self._links: list[Link] = []

    def __enter__(self) -> Self:
        remove_leftovers()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def host(self, name: str) -> Host:
        """A new namespace with loopback up. `name` is for people: it needs not be unique."""
        namespace = new_name(next(_numbers), name)
        host = Host(namespace, name)
        # Listed before it exists, so that an interruption between the two leaves nothing.
        self.hosts.append(host)
        run_command(["ip", "netns", "add", namespace])
        host.run(["ip", "link", "set", "lo", "up"])
        # Without duplicate address detection, whose wait would keep IPv6 addresses unusable for a second.
        host.run(["sysctl", "-q", "-w", "net.ipv6.conf.default.accept_dad=0"])
        return host

    def machine(self) -> Host:
        """This machine as a host. A link to it goes when its other end does."""
        host = Host("", "machine")
        self.hosts.append(host)
        return host

    def interface_name(self, hint: str = "wg") -> str:
        """For a WireGuard interface: unique on the machine, as `wg` needs it. `hint`: at most 3 letters."""
        name = f"{hint[:3]}{_base36(os.getpid())}x{_base36(next(_numbers))}"
        if len(name) > INTERFACE_NAME_LIMIT:
            raise LabError(f"{name} is longer than {INTERFACE_NAME_LIMIT} characters")
        self._wireguard_names.append(name)
        return name

    def connect(self, a: Host, b: Host, network: str | None = None) -> Link:
        """A cable between two hosts; each gets an address of `network` (first `a`, then `b`)."""
        net = ipaddress.ip_network(network or f"10.77.{next(self._subnets)}.0/24")
        a_address, b_address = (str(address) for address in itertools.islice(net.hosts(), 2))
        link = Link(a, b, a.new_interface(), b.new_interface(), a_address, b_address)
        self._links.append(link)
        near = [link.a_interface, "netns", a.where()]
        far = [link.b_interface, "netns", b.where()]
        run_command(["ip", "link", "add", *near, "type", "veth", "peer", "name", *far])
        for host, interface, address in (
            (a, link.a_interface, a_address),
            (b, link.b_interface, b_address),
        ):
            host.run(["ip", "address", "add", f"{address}/{net.prefixlen}", "dev", interface])
            host.run(["ip", "link", "set", interface, "up"])
        return link

    def route(self, host: Host, via: str, to: str = "default") -> None:
        host.run(["ip", "route", "replace", to, "via", via])

    def forward(self, host: Host) -> None:
        """Makes `host` a router between its links."""
        host.run(["sysctl", "-q", "-w", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"])

    def nat(
        self,
        inside: Host,
        gateway: Host,
        outside: Host,
        *,
        inner: str | None = None,
        outer: str | None = None,
    ) -> Nat:
        """Puts `inside` behind `gateway`, which shows its own address to `outside` and lets nothing in."""
        inner_link = self.connect(gateway, inside, inner)
        outer_link = self.connect(outside, gateway, outer)
        self.route(inside, inner_link.a_address)
        self.route(gateway, outer_link.a_address)
        self.forward(gateway)
        gateway.run(["nft", "-f", "-"], stdin=_nat_rules(outer_link.b_interface))
        return Nat(inner_link, outer_link)

    def close(self) -> None:
        """Ends every process and removes every namespace; tries all of them before it reports a failure."""
        failures = _attempt(host.stop for host in self.hosts)
        # A namespace's links go some time after it: this machine's end of one must be gone when this returns.
        failures += _attempt(link.remove for link in self._links)
        failures += _attempt(host.remove for host in self.hosts)
        self._links.clear()
        self.hosts.clear()
        for name in self._wireguard_names:
            (_WIREGUARD_SOCKETS / f"{name}.sock").unlink(missing_ok=True)
        self._wireguard_names.clear()
        if failures:
            raise LabError("; ".join(failures))


def _attempt(actions: Iterable[Callable[[], None]]) -> list[str]:
    failures = []
    for action in actions:
        try:
            action()
        except (LabError, OSError, subprocess.TimeoutExpired) as error:
            failures.append(str(error))
    return failures


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"setns: {os.strerror(code)}")


def _base36(number: int) -> str:
    text = ""
    while True:
        number, digit = divmod(number, 36)
        text = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + text
        if not number:
            return text


def _nat_rules(outer_interface: str) -> str:
    return f"""
table ip daalu_nat {{
  chain forward {{
    type filter hook forward priority 0; policy accept;
    iifname "{outer_interface}" ct state established,related accept
    iifname "{outer_interface}" drop
  }}
  chain input {{
    type filter hook input priority 0; policy accept;
    iifname "{outer_interface}" ct state established,related accept
    iifname "{outer_interface}" ip protocol != icmp drop
  }}
  chain postrouting {{
    type nat hook postrouting priority 100;
    oifname "{outer_interface}" masquerade
  }}
}}
"""


def _cut_rules(interface: str) -> str:
    return f"""
table netdev cut_{interface} {{
  chain ingress {{
    type filter hook ingress device "{interface}" priority 0; policy drop;
  }}
}}
"""
