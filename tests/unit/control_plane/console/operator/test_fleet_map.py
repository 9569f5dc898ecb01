"""The fleet as a map: pure."""

import pytest

from control_plane.console.operator.fleet_map import (
    MARKS,
    NO_CARD,
    TONES,
    Host,
    HostState,
    fleet_map,
    state_of,
)


def _host(name: str, state: HostState, card_class: str = "L4") -> Host:
    return Host(name, name, "acme", state, card_class, 1, None, simulated=False)


@pytest.mark.parametrize(
    ("liveness", "health", "drained", "state"),
    [
        ("out", "good", False, HostState.UNREACHABLE),
        # What was critical when it was last heard is not known to be so now.
        ("out", "critical", True, HostState.UNREACHABLE),
        ("suspect", "critical", False, HostState.SILENT),
        ("never", "unknown", False, HostState.NEVER),
        ("live", "critical", True, HostState.CRITICAL),
        ("live", "warning", False, HostState.WARNING),
        ("live", "good", True, HostState.DRAINED),
        ("live", "good", False, HostState.WELL),
        ("live", "unknown", False, HostState.UNKNOWN),
    ],
)
def test_a_host_is_in_the_state_that_matters_first(
    liveness: str, health: str, drained: bool, state: HostState
) -> None:
    assert state_of(liveness, health, drained=drained) is state


def test_every_state_has_a_colour_and_a_sign_of_its_own() -> None:
    assert TONES.keys() == MARKS.keys() == set(HostState)
    assert len(set(MARKS.values())) == len(HostState)


def test_all_are_counted_and_the_worst_are_shown() -> None:
    hosts = [_host(f"well-{number}", HostState.WELL) for number in range(5)]
    hosts += [_host("hot", HostState.CRITICAL, "H100"), _host("new", HostState.NEVER, NO_CARD)]
    drawn = fleet_map(hosts, most=3)
    assert drawn.states == (HostState.CRITICAL, HostState.NEVER, HostState.WELL)
    assert drawn.totals == (1, 1, 5)
    assert (drawn.hosts_count, drawn.left_out) == (7, 4)
    # What is not known comes last, whatever its name.
    assert [row.card_class for row in drawn.rows] == ["H100", "L4", NO_CARD]
    shown = [host.name for row in drawn.rows for host in row.hosts]
    assert shown == ["hot", "well-0", "new"]


def test_an_empty_fleet_has_nothing_to_count() -> None:
    drawn = fleet_map([], most=3)
    assert (drawn.hosts_count, drawn.rows, drawn.states) == (0, (), ())
