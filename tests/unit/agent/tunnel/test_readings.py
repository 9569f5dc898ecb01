"""What `wg` and `ip` print is read field by field."""

from agent.tunnel.readings import Device, Interface, Peer, parse_device, parse_interface

NEW = "(none)\t(none)\t0\toff\n"
FULL = (
    "cHJpdmF0ZQ==\tpublic=\t39611\toff\n"
    "hub=\t(none)\t192.0.2.1:51820\tfd00::1/128,10.0.0.0/8\t1700000000\t148\t92\t25\n"
    "quiet=\t(none)\t(none)\t(none)\t0\t0\t0\toff\n"
)
ADDRESSES = """[{"ifindex":2,"ifname":"wg-a","flags":["POINTOPOINT","NOARP","UP","LOWER_UP"],"mtu":1280,
"link_type":"none","linkinfo":{"info_kind":"tun"},"addr_info":[
{"family":"inet6","local":"fd00::2","prefixlen":128,"scope":"global"},
{"family":"inet6","local":"fe80::1","prefixlen":64,"scope":"link"}]}]"""


def test_an_interface_without_key_or_peers() -> None:
    assert parse_device(NEW) == Device(None, {})


def test_peers_with_and_without_values_and_no_private_key() -> None:
    device = parse_device(FULL)
    assert device.public_key == "public="
    assert device.peers["hub="] == Peer(
        "192.0.2.1:51820", frozenset({"fd00::1/128", "10.0.0.0/8"}), 25, 1_700_000_000, 148, 92
    )
    assert device.peers["quiet="] == Peer(None, frozenset(), 0, 0, 0, 0)
    assert "cHJpdmF0ZQ" not in repr(device)


def test_only_global_addresses_count() -> None:
    assert parse_interface(ADDRESSES, '[{"dst":"fd00::1","flags":[]},{"dst":"fe80::/64"}]') == Interface(
        "tun", True, 1280, frozenset({"fd00::2/128"}), frozenset({"fd00::1", "fe80::/64"})
    )


def test_another_kind_of_interface_and_no_routes() -> None:
    text = '[{},{"ifname":"eth0","flags":[],"mtu":1500,"link_type":"ether","addr_info":[]}]'
    assert parse_interface(text, "") == Interface("ether", False, 1500, frozenset(), frozenset())
