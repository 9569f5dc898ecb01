from control_plane.tunnel.network import HubNetwork
from control_plane.tunnel.rules import no_rules, rules, table_name

NETWORK = HubNetwork.parse("fd12:3456:789a::/64")


def test_the_table_is_named_after_its_interface() -> None:
    assert table_name("daalu-hub") == "daalu_daalu_hub"
    assert table_name("a-b") != table_name("ab")


def test_the_whole_table_is_replaced_in_one_step() -> None:
    lines = rules("wg0", NETWORK).splitlines()
    assert lines[:3] == ["table inet daalu_wg0 {}", "delete table inet daalu_wg0", "table inet daalu_wg0 {"]


def test_nothing_is_accepted_from_an_agent_but_answers() -> None:
    text = rules("wg0", NETWORK)
    from_agents = [line.strip() for line in text.splitlines() if 'iifname "wg0"' in line]
    assert [line for line in from_agents if not line.endswith("drop")] == [
        'iifname "wg0" ct state established,related accept'
    ]


def test_each_family_is_ruled_by_its_own_words() -> None:
    assert "ip saddr" not in rules("wg0", NETWORK)
    assert "ip6" not in rules("wg0", HubNetwork.parse("10.1.0.0/16"))


def test_removing_works_where_there_is_no_table() -> None:
    assert no_rules("wg0") == "table inet daalu_wg0 {}\ndelete table inet daalu_wg0\n"
