import ipaddress
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.tunnel.network import (
    HubNetwork,
    NetworkFull,
    UnusableNetwork,
    free_address,
    hub_network_of,
    new_deployment_network,
    tunnel_configuration,
)

V4 = HubNetwork.parse("10.9.8.0/24")


@given(st.integers(min_value=0, max_value=(1 << 64) - 1))
def test_a_deployment_network_is_a_local_48(random_bits: int) -> None:
    network = new_deployment_network(random_bits)
    assert network.prefixlen == 48
    assert network.subnet_of(ipaddress.IPv6Network("fd00::/8"))


@given(st.integers(min_value=0, max_value=(1 << 40) - 1))
def test_the_hubs_network_is_a_64_of_it_and_its_address_the_first(random_bits: int) -> None:
    deployment = new_deployment_network(random_bits)
    hub = hub_network_of(deployment)
    assert hub.network.prefixlen == 64
    assert hub.network.network_address == deployment.network_address
    assert int(ipaddress.ip_address(hub.hub_address)) == int(deployment.network_address) + 1


def test_different_random_bits_give_different_networks() -> None:
    assert len({new_deployment_network(bits) for bits in (0, 1, (1 << 40) - 1)}) == 3


@given(st.randoms(use_true_random=False))
def test_an_agents_address_is_the_networks_and_not_the_hubs(random: Random) -> None:
    network = hub_network_of(new_deployment_network(5))
    for hub_network in (network, V4):
        address = free_address(hub_network, (), random.randrange)
        assert address in hub_network
        assert address != hub_network.hub_address
        assert ipaddress.ip_address(address) != hub_network.network.broadcast_address


def test_every_address_of_a_small_network_is_given_once() -> None:
    taken: set[str] = set()
    for _ in range(253):
        taken.add(free_address(V4, taken, lambda _: 0))
    assert len(taken) == 253
    with pytest.raises(NetworkFull, match="larger network"):
        free_address(V4, taken, lambda _: 0)


def test_a_large_network_is_not_gone_through() -> None:
    class Everything:
        def __contains__(self, address: object) -> bool:
            return True

    with pytest.raises(NetworkFull):
        free_address(hub_network_of(new_deployment_network(5)), Everything(), lambda _: 0)


@pytest.mark.parametrize(
    "text", ["10.0.0.0/25", "8.8.0.0/16", "127.0.0.0/8", "fd00::/48", "fe80::/64", "10.1/x"]
)
def test_networks_that_cannot_carry_tunnels_are_refused(text: str) -> None:
    with pytest.raises(UnusableNetwork, match=text.split("/", maxsplit=1)[0]):
        HubNetwork.parse(text)


def test_the_configuration_carries_what_an_agent_needs() -> None:
    configuration = tunnel_configuration(
        V4, agent_address="10.9.8.7", hub_public_key="key", hub_endpoint="control.example:51820"
    )
    assert (configuration.agent_address, configuration.hub_address) == ("10.9.8.7", "10.9.8.1")
    assert (configuration.network, configuration.hub_public_key) == ("10.9.8.0/24", "key")
    assert (configuration.mtu_bytes, configuration.keepalive_s) == (1280, 25)
