import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.tunnel.peers import (
    MAX_STEPS_PER_COMMAND,
    Difference,
    Peer,
    Step,
    UnreadableDump,
    difference,
    parse_dump,
)

KEYS = st.sampled_from([f"key{number}" for number in range(8)])
NETWORKS = st.sampled_from([f"fd00::{number}/128" for number in range(8)])


@st.composite
def interfaces(draw: st.DrawFn) -> dict[str, Peer]:
    """A network belongs to one peer at most, as in the real thing."""
    holders = draw(st.dictionaries(NETWORKS, KEYS))
    keys = draw(st.sets(KEYS)) | set(holders.values())
    return {key: Peer(frozenset(net for net, holder in holders.items() if holder == key)) for key in keys}


@st.composite
def wishes(draw: st.DrawFn) -> dict[str, str]:
    keys = draw(st.lists(KEYS, unique=True))
    networks = draw(st.lists(NETWORKS, unique=True, min_size=len(keys), max_size=len(keys)))
    return dict(zip(keys, networks, strict=True))


def _apply(actual: dict[str, Peer], change: Difference) -> dict[str, frozenset[str]]:
    """What `wg` does with the steps; fails where one would steal a network from another peer."""
    state = {key: peer.allowed for key, peer in actual.items()}
    for step in change.steps:
        if step.allowed is None:
            del state[step.public_key]
            continue
        networks = frozenset([step.allowed]) if step.allowed else frozenset()
        for key, held in state.items():
            assert key == step.public_key or held.isdisjoint(networks), f"stolen from {key}"
        state[step.public_key] = networks
    return state


@given(interfaces(), wishes())
def test_the_steps_lead_to_what_is_wanted_and_never_steal(
    actual: dict[str, Peer], wanted: dict[str, str]
) -> None:
    state = _apply(actual, difference(actual, wanted))
    assert state == {key: frozenset([network]) for key, network in wanted.items()}


@given(interfaces(), wishes())
def test_a_peer_that_is_right_is_not_touched(actual: dict[str, Peer], wanted: dict[str, str]) -> None:
    right = {key for key in wanted if key in actual and actual[key].allowed == {wanted[key]}}
    assert right.isdisjoint(step.public_key for step in difference(actual, wanted).steps)


@given(interfaces(), wishes())
def test_a_wanted_peer_is_never_removed(actual: dict[str, Peer], wanted: dict[str, str]) -> None:
    removed = {step.public_key for step in difference(actual, wanted).removed}
    assert removed == actual.keys() - wanted.keys()


@given(wishes())
def test_nothing_is_done_where_all_is_as_wanted(wanted: dict[str, str]) -> None:
    actual = {key: Peer(frozenset([network])) for key, network in wanted.items()}
    assert difference(actual, wanted).steps == ()


def test_two_peers_never_want_the_same_network() -> None:
    with pytest.raises(ValueError, match="same network"):
        difference({}, {"a": "fd00::1/128", "b": "fd00::1/128"})


def test_a_peer_that_is_added_is_reached_where_it_was_last_seen() -> None:
    known = {"a": "198.51.100.7:9000", "b": "198.51.100.8:9000"}
    actual = {"b": Peer(frozenset(), "203.0.113.1:1")}
    change = difference(actual, {"a": "fd00::1/128", "b": "fd00::2/128"}, known)
    # A peer that is there may have moved since.
    assert change.set == (Step("a", "fd00::1/128", "198.51.100.7:9000"), Step("b", "fd00::2/128"))


def test_steps_are_written_as_wg_takes_them() -> None:
    change = Difference(
        removed=(Step("a", None),), cleared=(Step("b", ""),), set=(Step("c", "fd00::1/128", "h:1"),)
    )
    expected = "wg set wg0 peer a remove peer b allowed-ips | peer c endpoint h:1 allowed-ips fd00::1/128"
    assert list(change.commands("wg0")) == [["" if word == "|" else word for word in expected.split()]]


def test_many_steps_make_several_commands() -> None:
    wanted = {f"key{number}": f"fd00::{number:x}/128" for number in range(MAX_STEPS_PER_COMMAND + 1)}
    commands = list(difference({}, wanted).commands("wg0"))
    assert [command.count("peer") for command in commands] == [MAX_STEPS_PER_COMMAND, 1]
    assert list(difference({}, {}).commands("wg0")) == []


DUMP = (
    "cHJpdmF0ZQ==\tcHVibGlj\t51820\toff\n"
    "peer-a\t(none)\t198.51.100.7:51000\tfd00::2/128\t1700000000\t10\t20\toff\n"
    "peer-b\t(none)\t[2001:db8::1]:9\tfd00::3/128,fd00::4/128\t0\t0\t0\t25\n"
    "peer-c\t(none)\t(none)\t(none)\t0\t0\t0\toff\n"
)


def test_a_dump_is_read() -> None:
    interface = parse_dump(DUMP)
    assert (interface.public_key, interface.listen_port) == ("cHVibGlj", 51820)
    assert interface.peers == {
        "peer-a": Peer(frozenset({"fd00::2/128"}), "198.51.100.7:51000"),
        "peer-b": Peer(frozenset({"fd00::3/128", "fd00::4/128"}), "[2001:db8::1]:9"),
        "peer-c": Peer(frozenset(), None),
    }


def test_a_fresh_interface_has_no_key() -> None:
    assert parse_dump("(none)\t(none)\t0\toff\n").public_key is None


def test_the_private_key_is_not_kept() -> None:
    assert "cHJpdmF0ZQ" not in repr(parse_dump(DUMP))


@pytest.mark.parametrize("text", ["", "one line\n", "a\tb\tc\td\n", DUMP + "peer-d\tshort\n"])
def test_an_unknown_dump_is_said_to_be_unreadable(text: str) -> None:
    with pytest.raises(UnreadableDump):
        parse_dump(text)
