import pytest

from control_plane.store import Store
from control_plane.tunnel import HubNetwork, UnusableNetwork, allocate_address, choose_network


def test_a_network_is_chosen_once(store: Store) -> None:
    first = store.write_now(choose_network)
    assert store.write_now(choose_network) == first
    assert first.is_ipv6


def test_an_ipv4_network_can_be_chosen(store: Store) -> None:
    chosen = store.write_now(lambda session: choose_network(session, "10.7.0.0/16"))
    assert str(chosen) == "10.7.0.0/16"
    assert store.write_now(choose_network) == chosen


def test_a_chosen_network_cannot_be_changed(store: Store) -> None:
    store.write_now(choose_network)
    with pytest.raises(UnusableNetwork, match="cannot be changed"):
        store.write_now(lambda session: choose_network(session, "10.7.0.0/16"))


def test_an_ipv6_network_is_always_random(store: Store) -> None:
    with pytest.raises(UnusableNetwork, match="chosen at random"):
        store.write_now(lambda session: choose_network(session, "fd00:1::/64"))


def test_addresses_are_the_networks(store: Store) -> None:
    network: HubNetwork = store.write_now(choose_network)
    with store.reading() as session:
        addresses = {allocate_address(session, network) for _ in range(20)}
    assert len(addresses) == 20
    assert all(address in network for address in addresses)
