"""A hub in a lab's host, and agents' ends of the tunnel driven by `wg` alone."""

import base64
import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from sqlmodel import Session

from control_plane.access import create_tenant
from control_plane.config import Address, Settings, settings_toml, sqlite_url
from control_plane.identifiers import AgentId, new_agent_id
from control_plane.store import Store, announce, unix_ms
from control_plane.store.tables import Agent, ChangeKind, Connection
from control_plane.tunnel import HubNetwork, allocate_address, choose_network, create_hub_key, hub_public_key
from tests.support.netlab import Host
from tests.support.programs import Program, eventually

HUB_PORT = 51820
PORT = 7443
CONNECT_TIMEOUT_S = 1.0
UP_TIMEOUT_S = 20.0
_RUN_HUB = """
import pathlib, sys
from control_plane.config import load_settings
from control_plane.logs import set_up_logging
from control_plane.tunnel import HubError, run_hub
set_up_logging()
try:
    run_hub(load_settings(pathlib.Path(sys.argv[1])))
except HubError as error:
    sys.exit(f"hub error: {error}")
"""


class HubSite:
    """A data directory with its store, and the hub's process in `host`."""

    def __init__(self, host: Host, data: Path, interface: str, *, ipv4: str | None = None) -> None:
        self.host = host
        self.interface = interface
        self.settings = Settings(
            data=data,
            database_url=sqlite_url(data),
            public_url="https://control.example:8443",
            listen=Address("127.0.0.1", 8443),
            listen_plain=None,
            hub_endpoint="control.example:51820",
            hub_port=HUB_PORT,
            hub_interface=interface,
            allow_direct=False,
            catalogue=None,
        )
        data.mkdir(parents=True, exist_ok=True)
        self.settings.directory.config.write_text(settings_toml(self.settings))
        create_hub_key(self.settings.directory.hub_key)
        self.public_key = hub_public_key(self.settings.directory.hub_key)
        self.endpoints_file = self.settings.directory.hub_key.with_name("endpoints.json")
        self.store = Store(self.settings.database_url)
        self.store.migrate()
        self.network: HubNetwork = self.store.write_now(lambda session: choose_network(session, ipv4))
        self._tenant = self.store.write_now(
            lambda session: create_tenant(session, name="acme", actor="operator").id
        )
        self.program = self.new_program("hub.log")

    def new_program(self, log: str) -> Program:
        data = self.settings.data
        return Program(self.host, [sys.executable, "-c", _RUN_HUB, str(data)], data / log)

    def start(self) -> None:
        started = self.program.tail().count("hub is up")
        self.program.start()
        self.program.wait_until(
            lambda: self.program.log.read_text().count("hub is up") > started,
            "hub is up",
            timeout_s=UP_TIMEOUT_S,
        )

    def close(self) -> None:
        self.program.stop()
        self.store.close()

    def enrol(self, name: str) -> tuple[AgentId, str, str]:
        """A new agent row. Returns its id, address and private key."""
        private = X25519PrivateKey.generate()
        public_key = base64.b64encode(private.public_key().public_bytes_raw()).decode()

        def unit(session: Session) -> tuple[AgentId, str]:
            address = allocate_address(session, self.network)
            agent = Agent(
                id=new_agent_id(),
                tenant_id=self._tenant,
                name=name,
                connection=Connection.TUNNEL,
                tunnel_address=address,
                rpc_port=7443,
                engine_port=7400,
                wireguard_public_key=public_key,
                tls_key_sha256=name.encode().ljust(32),
                certificate_pem="",
                certificate_expires_unix_ms=0,
                agent_version="0",
                created_unix_ms=unix_ms(),
            )
            session.add(agent)
            announce(session, ChangeKind.AGENT, agent.id)
            return AgentId(agent.id), address

        agent_id, address = self.store.write_now(unit)
        return agent_id, address, base64.b64encode(private.private_bytes_raw()).decode()

    def revoke(self, agent_id: AgentId) -> None:
        def unit(session: Session) -> None:
            agent = session.get_one(Agent, agent_id)
            agent.revoked_unix_ms = unix_ms()
            session.add(agent)
            announce(session, ChangeKind.AGENT, agent_id)

        self.store.write_now(unit)

    def peers(self) -> list[str]:
        """The allowed networks of the interface's peers, as `wg` prints them."""
        shown = self.host.run(["wg", "show", self.interface, "allowed-ips"], check=False).stdout
        return sorted(line.partition("\t")[2] for line in shown.splitlines())

    def drop_rules(self) -> None:
        """What the rules stopped must work without them: only then did they stop it."""
        self.host.run(["nft", "flush", "ruleset"])
        self.host.run(["sysctl", "-q", "-w", "net.ipv6.conf.all.forwarding=1", "net.ipv4.ip_forward=1"])


@dataclass(frozen=True, slots=True)
class PeerEnd:
    """An agent's end of the tunnel."""

    host: Host
    agent_id: AgentId
    address: str
    interface: str


def join(
    site: HubSite, host: Host, interface: str, hub_address: str, *, allowed: str | None = None
) -> PeerEnd:
    """Enrols and brings the agent's end up. `allowed`: what it routes into the tunnel; else the hub alone."""
    agent_id, address, private_key = site.enrol(host.name)
    host.popen(["wireguard-go", "-f", interface], env={**os.environ, "WG_PROCESS_FOREGROUND": "1"})
    eventually(
        lambda: host.run(["wg", "show", interface], check=False).returncode == 0,
        "the interface",
        timeout_s=10,
    )
    network = site.network
    key_file = site.settings.data / f"{interface}.key"
    key_file.write_text(private_key)
    allowed = allowed or network.host_prefix(network.hub_address)
    peer = ["peer", site.public_key, "endpoint", f"{hub_address}:{HUB_PORT}", "allowed-ips", allowed]
    host.run(["wg", "set", interface, "private-key", str(key_file), *peer, "persistent-keepalive", "25"])
    host.run(["ip", "address", "add", network.host_prefix(address), "dev", interface])
    host.run(["ip", "link", "set", "dev", interface, "mtu", "1280", "up"])
    host.run(["ip", "route", "add", allowed, "dev", interface])
    return PeerEnd(host, agent_id, address, interface)


@contextmanager
def listening(host: Host, address: str, port: int = PORT) -> Iterator[socket.socket]:
    """A TCP listener at an address of `host`."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with host.entered():
        listener = socket.create_server((address, port), family=family, backlog=64)
    with listener:
        yield listener


@contextmanager
def receiving(host: Host, address: str, port: int = PORT) -> Iterator[socket.socket]:
    """A UDP socket at an address of `host`."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with host.entered():
        receiver = socket.socket(family, socket.SOCK_DGRAM)
    with receiver:
        receiver.bind((address, port))
        receiver.settimeout(CONNECT_TIMEOUT_S)
        yield receiver


def reaches(host: Host, address: str, port: int = PORT) -> bool:
    """Whether a TCP connection from `host` opens."""
    with host.entered(), contextlib.suppress(OSError):
        socket.create_connection((address, port), timeout=CONNECT_TIMEOUT_S).close()
        return True
    return False


def gets_through(host: Host, source: str, receiver: socket.socket) -> bool:
    """Whether a datagram from `source`, an address of `host`, arrives at `receiver`."""
    with host.entered():
        sender = socket.socket(receiver.family, socket.SOCK_DGRAM)
    with sender:
        sender.bind((source, 0))
        with contextlib.suppress(OSError):
            sender.sendto(b"?", receiver.getsockname()[:2])
            receiver.recv(16)
            return True
    return False
