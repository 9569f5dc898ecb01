"""From what an interface is to what it should be: only the difference, in an order that works."""

from dataclasses import replace

import pytest

from agent.tunnel.plan import Wanted, choose_endpoint, difference, is_stale
from agent.tunnel.readings import Device, Interface, Peer
from tests.support.agent_state import tunnel_settings

SETTINGS = tunnel_settings()
HUB = SETTINGS.hub_public_key
WANTED = Wanted("wg-a", "own-key", "/state/wireguard.key", SETTINGS, "192.0.2.1:51820")
NEW_DEVICE = Device(None, {})
NEW_INTERFACE = Interface("wireguard", up=False, mtu_bytes=1420, addresses=frozenset())
PEER = Peer("192.0.2.1:51820", frozenset({"fd77:1:2:3::1/128"}), 25, 1_000_000, 1, 2)
DEVICE = Device("own-key", {HUB: PEER})
INTERFACE = Interface(
    "wireguard", True, 1280, frozenset({"fd77:1:2:3::2/128"}), frozenset({"fd77:1:2:3::1", "fd77:1:2:3::2"})
)


def test_what_is_as_wanted_is_left_alone() -> None:
    assert difference(WANTED, DEVICE, INTERFACE) == []
    assert difference(replace(WANTED, endpoint=None), DEVICE, INTERFACE) == []


def test_a_new_interface_gets_everything_and_routes_nothing_but_the_hub() -> None:
    peer = ("endpoint", "192.0.2.1:51820", "allowed-ips", "fd77:1:2:3::1/128", "persistent-keepalive", "25")
    assert difference(WANTED, NEW_DEVICE, NEW_INTERFACE) == [
        ("wg", "set", "wg-a", "private-key", "/state/wireguard.key"),
        ("wg", "set", "wg-a", "peer", HUB, *peer),
        ("ip", "link", "set", "dev", "wg-a", "mtu", "1280"),
        ("ip", "address", "replace", "fd77:1:2:3::2/128", "dev", "wg-a", "nodad"),
        ("ip", "link", "set", "dev", "wg-a", "up"),
        ("ip", "route", "replace", "fd77:1:2:3::1/128", "dev", "wg-a"),
    ]


def test_a_hub_that_moved_gets_a_new_endpoint_and_is_never_removed() -> None:
    commands = difference(replace(WANTED, endpoint="192.0.2.9:51820"), DEVICE, INTERFACE)
    assert commands == [("wg", "set", "wg-a", "peer", HUB, "endpoint", "192.0.2.9:51820")]


def test_a_hub_that_roamed_keeps_the_endpoint_that_wireguard_learned() -> None:
    roamed = Device("own-key", {HUB: replace(PEER, endpoint="198.51.100.7:4000")})
    assert difference(replace(WANTED, endpoint=None), roamed, INTERFACE) == []


def test_foreign_peers_and_addresses_go_and_widened_allowed_addresses_shrink() -> None:
    device = Device(
        "own-key", {HUB: replace(PEER, allowed=frozenset({"fd77:1:2:3::1/128", "::/0"})), "someone": PEER}
    )
    interface = replace(INTERFACE, addresses=INTERFACE.addresses | {"10.0.0.1/24"})
    assert difference(WANTED, device, interface) == [
        ("wg", "set", "wg-a", "peer", "someone", "remove"),
        ("wg", "set", "wg-a", "peer", HUB, "allowed-ips", "fd77:1:2:3::1/128"),
        ("ip", "address", "delete", "10.0.0.1/24", "dev", "wg-a"),
    ]


def test_a_route_lost_with_the_link_is_set_again() -> None:
    down = replace(INTERFACE, up=False, routes=frozenset())
    assert [command[1] for command in difference(WANTED, DEVICE, down)] == ["link", "route"]


def test_ipv4_networks_are_as_good() -> None:
    settings = tunnel_settings(agent_address="10.9.0.2", hub_address="10.9.0.1", network="10.9.0.0/16")
    commands = difference(replace(WANTED, settings=settings), NEW_DEVICE, NEW_INTERFACE)
    assert ("ip", "address", "replace", "10.9.0.2/32", "dev", "wg-a") in commands
    assert commands[-1] == ("ip", "route", "replace", "10.9.0.1/32", "dev", "wg-a")


def test_the_private_key_is_in_no_command() -> None:
    commands = difference(WANTED, NEW_DEVICE, NEW_INTERFACE)
    assert [part for command in commands for part in command if "key" in part] == [
        "private-key",
        "/state/wireguard.key",
    ]


@pytest.mark.parametrize(
    ("peer", "stale"),
    [
        (None, True),
        (replace(PEER, endpoint=None), True),
        (replace(PEER, latest_handshake_unix_s=0), True),
        (replace(PEER, latest_handshake_unix_s=1_000_000 - 181), True),
        (replace(PEER, latest_handshake_unix_s=1_000_000 - 180), False),
        (PEER, False),
    ],
)
def test_a_hub_is_stale_without_a_handshake_in_180_seconds(peer: Peer | None, stale: bool) -> None:
    assert is_stale(peer, 1_000_000) is stale


@pytest.mark.parametrize(
    ("current", "resolved", "chosen"),
    [
        (None, [], None),
        ("a", [], None),
        (None, ["a", "b"], "a"),
        ("a", ["a"], "a"),
        ("a", ["a", "b"], "b"),
        ("b", ["a", "b"], "a"),
        ("elsewhere", ["a", "b"], "a"),
    ],
)
def test_each_address_of_a_silent_hub_gets_its_turn(
    current: str | None, resolved: list[str], chosen: str | None
) -> None:
    assert choose_endpoint(current, resolved) == chosen
