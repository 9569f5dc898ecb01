"""Who reaches whom. Each refusal is shown to be the rules' doing: without them the same packet arrives."""

from pathlib import Path

import pytest

from tests.support.netlab import Lab
from tests.support.programs import eventually
from tests.support.tunnel import (
    UP_TIMEOUT_S,
    HubSite,
    PeerEnd,
    gets_through,
    join,
    listening,
    reaches,
    receiving,
)

pytestmark = pytest.mark.root

BESIDE = "fd77:77::/64"


def _join(lab: Lab, site: HubSite, name: str, *, allowed: str | None = None) -> PeerEnd:
    host = lab.host(name)
    hub_address, _ = lab.connect(site.host, host)
    end = join(site, host, lab.interface_name("agt"), hub_address, allowed=allowed)
    with listening(end.host, end.address):
        eventually(lambda: reaches(site.host, end.address), f"hub reaches {name}", timeout_s=UP_TIMEOUT_S)
    return end


def test_the_hub_reaches_every_agent_and_no_agent_reaches_another(lab: Lab, site: HubSite) -> None:
    site.start()
    everything = str(site.network)
    a, b = _join(lab, site, "a", allowed=everything), _join(lab, site, "b", allowed=everything)
    assert len(site.peers()) == 2
    with listening(b.host, b.address):
        assert not reaches(a.host, b.address)
        site.drop_rules()
        assert reaches(a.host, b.address)


def test_an_agent_reaches_no_port_of_the_hub(lab: Lab, site: HubSite) -> None:
    site.start()
    agent = _join(lab, site, "a")
    with listening(site.host, "::"):
        assert not reaches(agent.host, site.network.hub_address)
        site.drop_rules()
        assert reaches(agent.host, site.network.hub_address)


def test_an_agent_does_not_get_through_the_hub_to_networks_behind_it(lab: Lab, site: HubSite) -> None:
    site.start()
    agent = _join(lab, site, "a", allowed="::/0")
    behind = lab.host("behind")
    link = lab.connect(site.host, behind, BESIDE)
    behind.run(["ip", "route", "add", "default", "via", link.a_address])
    with listening(behind, link.b_address), listening(site.host, link.a_address):
        assert not reaches(agent.host, link.b_address)
        assert not reaches(agent.host, link.a_address)
        site.drop_rules()
        assert reaches(agent.host, link.a_address)
        assert reaches(agent.host, link.b_address)


def test_a_host_beside_the_tunnel_cannot_pass_for_an_agent(lab: Lab, site: HubSite) -> None:
    site.start()
    beside = lab.host("beside")
    link = lab.connect(site.host, beside, BESIDE)
    stolen = str(site.network.network[77])
    beside.run(["ip", "address", "add", f"{stolen}/128", "dev", "lo"])
    with receiving(site.host, link.a_address) as receiver:
        assert not gets_through(beside, stolen, receiver)
        site.drop_rules()
        assert gets_through(beside, stolen, receiver)


def test_a_host_beside_the_tunnel_cannot_send_into_it(lab: Lab, site: HubSite) -> None:
    site.start()
    agent = _join(lab, site, "a", allowed="::/0")
    beside = lab.host("beside")
    link = lab.connect(site.host, beside, BESIDE)
    beside.run(["ip", "route", "add", str(site.network), "via", link.a_address])
    with receiving(agent.host, agent.address) as receiver, listening(site.host, "::"):
        assert not gets_through(beside, link.b_address, receiver)
        assert not reaches(beside, site.network.hub_address)
        site.drop_rules()
        assert gets_through(beside, link.b_address, receiver)
        assert reaches(beside, site.network.hub_address)


def test_packets_to_the_network_do_not_leave_by_another_interface(lab: Lab, site: HubSite) -> None:
    site.start()
    beside = lab.host("beside")
    link = lab.connect(site.host, beside, BESIDE)
    address = str(site.network.network[77])
    beside.run(["ip", "address", "add", f"{address}/128", "dev", "lo"])
    # As after a crash of wireguard-go, when a default route would take them.
    site.host.run(["ip", "route", "add", f"{address}/128", "via", link.b_address])
    with listening(beside, address):
        assert not reaches(site.host, address)
        site.drop_rules()
        assert reaches(site.host, address)


def test_an_ipv4_network_is_isolated_alike(lab: Lab, tmp_path: Path) -> None:
    site = HubSite(lab.host("hub"), tmp_path / "data", lab.interface_name("hub"), ipv4="10.99.0.0/24")
    try:
        site.start()
        network = str(site.network)
        a, b = _join(lab, site, "a", allowed=network), _join(lab, site, "b", allowed=network)
        with listening(b.host, b.address), listening(site.host, "0.0.0.0"):
            assert not reaches(a.host, b.address)
            assert not reaches(a.host, site.network.hub_address)
            site.drop_rules()
            assert reaches(a.host, b.address)
            assert reaches(a.host, site.network.hub_address)
    finally:
        site.close()
