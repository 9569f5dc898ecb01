"""The tunnel joins each agent with the hub, and nobody with anybody else."""

import json
import socket
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import World
from tests.support.netlab import Host
from tests.support.product import AgentHost

# A dropped packet shows as silence; a round trip in the lab takes a millisecond.
SILENCE_S = 2.0


def _reaches(host: Host, address: str, port: int, *, source: str = "") -> bool:
    with host.entered():
        connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    with connection:
        connection.settimeout(SILENCE_S)
        try:
            if source:
                connection.bind((source, 0))
            connection.connect((address, port))
        except OSError:
            return False
        return True


def _tunnel_address(world: World, agent: AgentHost) -> str:
    return str(world.system.control.agent(agent.name)["tunnel_address"])


def _hub_address(world: World) -> str:
    """Where the hub's own end of the tunnel listens, as its interface has it."""
    addresses = world.system.network.control.run(
        ["ip", "-json", "address", "show", "dev", world.system.control.interface]
    ).stdout
    return next(
        str(item["local"]) for item in json.loads(addresses)[0]["addr_info"] if item["scope"] == "global"
    )


@pytest.fixture
def widened(world: World) -> Iterator[Host]:
    """The neighbour's host after its owner opened WireGuard for every address of the tunnel's network."""
    host, interface = world.neighbour.customer.host, world.neighbour.agent.interface
    peer, allowed = host.run(["wg", "show", interface, "allowed-ips"]).stdout.split("\t")
    routes = [_tunnel_address(world, world.owner.agent)]
    host.run(["wg", "set", interface, "peer", peer, "allowed-ips", "::/0"])
    for address in routes:
        host.run(["ip", "-6", "route", "replace", address, "dev", interface])
    yield host
    host.run(["wg", "set", interface, "peer", peer, "allowed-ips", allowed.strip().replace(" ", ",")])
    for address in routes:
        host.run(["ip", "-6", "route", "delete", address, "dev", interface], check=False)


def test_the_control_plane_reaches_each_agent_and_only_its_ports(world: World) -> None:
    control = world.system.network.control
    address = _tunnel_address(world, world.owner.agent)
    assert _reaches(control, address, 7443)
    assert _reaches(control, address, 7400)
    with world.owner.customer.host.entered():
        other = socket.create_server((address, 0), family=socket.AF_INET6)
    with other:
        assert not _reaches(control, address, other.getsockname()[1])


def test_an_agent_does_not_reach_another_even_when_it_widens_what_its_tunnel_allows(
    world: World, widened: Host
) -> None:
    address = _tunnel_address(world, world.owner.agent)
    assert not _reaches(widened, address, 7443)
    assert not _reaches(widened, address, 7400)


def test_an_agent_reaches_no_port_of_the_hub_through_the_tunnel(world: World, widened: Host) -> None:
    address = _hub_address(world)
    with world.system.network.control.entered():
        server = socket.create_server((address, 0), family=socket.AF_INET6)
    with server:
        assert _reaches(world.system.network.control, address, server.getsockname()[1])
        assert not _reaches(widened, address, server.getsockname()[1])


def test_behind_its_translator_an_agent_has_no_open_port(world: World) -> None:
    client, nat = world.system.network.client, world.owner.customer.nat
    assert nat is not None
    for port in (7443, 7400, 22):
        assert not _reaches(client, nat.outer.b_address, port)


def test_a_host_beside_the_tunnel_cannot_use_a_tunnel_address(world: World) -> None:
    control = world.system.network.control
    beside = world.system.lab.host("beside")
    link = world.system.lab.connect(control, beside, "fd00:beef::/64")
    agent, neighbour = (_tunnel_address(world, site.agent) for site in (world.owner, world.neighbour))
    hub = _hub_address(world)
    beside.run(["ip", "address", "add", f"{neighbour}/128", "dev", link.b_interface, "nodad"])
    for address in (agent, hub):
        beside.run(["ip", "-6", "route", "add", address, "via", link.a_address])
    with control.entered():
        own = socket.create_server((link.a_address, 0), family=socket.AF_INET6)
        at_hub = socket.create_server((hub, 0), family=socket.AF_INET6)
    with own, at_hub:
        assert _reaches(beside, link.a_address, own.getsockname()[1]), "the link itself carries"
        assert not _reaches(beside, hub, at_hub.getsockname()[1])
        assert not _reaches(beside, hub, at_hub.getsockname()[1], source=neighbour)
        assert not _reaches(beside, link.a_address, own.getsockname()[1], source=neighbour)
        assert not _reaches(beside, agent, 7400)
        assert not _reaches(beside, agent, 7400, source=neighbour)


def test_the_engine_does_nothing_without_a_good_ticket(world: World) -> None:
    path = "/v1/models"
    assert world.probe.get(path, world.probe.ticket())[0] == 200
    assert world.probe.get(path, None)[0] == 401
    used = world.probe.ticket()
    assert world.probe.get(path, used)[0] == 200
    assert world.probe.get(path, used)[0] == 403
    claims, _, mac = world.probe.ticket().partition(".")
    assert world.probe.get(path, f"{claims}.{mac[::-1]}")[0] in (401, 403)
    assert world.probe.get(path, world.probe.ticket(tier="own"))[0] == 404
    assert world.probe.get("/tokenize", world.probe.ticket())[0] == 404
