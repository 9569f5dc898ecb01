"""The fleet as a map: every host in one state, counted by state and card class. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class HostState(StrEnum):
    """What an operator has to know of a host first, the worst first."""

    UNREACHABLE = "unreachable"
    CRITICAL = "critical"
    SILENT = "silent"
    WARNING = "warning"
    NEVER = "not heard yet"
    # It answers, and nothing that could tell its health was read yet.
    UNKNOWN = "health unknown"
    DRAINED = "drained"
    WELL = "well"


# The colour of a state, by the name that the style sheet has for it; never the only sign of it.
TONES = {
    HostState.UNREACHABLE: "critical",
    HostState.CRITICAL: "critical",
    HostState.SILENT: "warning",
    HostState.WARNING: "warning",
    HostState.NEVER: "unknown",
    HostState.UNKNOWN: "unknown",
    HostState.DRAINED: "unknown",
    HostState.WELL: "good",
}
MARKS = {
    HostState.UNREACHABLE: "○",
    HostState.CRITICAL: "✕",
    HostState.SILENT: "◐",
    HostState.WARNING: "!",
    HostState.NEVER: "◌",
    HostState.UNKNOWN: "?",
    HostState.DRAINED: "▽",
    HostState.WELL: "✓",
}
NO_CARD = "no card known"


def state_of(liveness: str, health: str, *, drained: bool) -> HostState:
    """A host that is not heard is that before all else: its health is of the past."""
    if liveness == "out":
        return HostState.UNREACHABLE
    if liveness == "suspect":
        return HostState.SILENT
    if liveness != "live":
        return HostState.NEVER
    if health == "critical":
        return HostState.CRITICAL
    if health == "warning":
        return HostState.WARNING
    if drained:
        return HostState.DRAINED
    return HostState.WELL if health == "good" else HostState.UNKNOWN


@dataclass(frozen=True, slots=True)
class Host:
    agent_id: str
    name: str
    tenant_name: str
    state: HostState
    # The class of its cards, the first one's where they differ; NO_CARD where none is known.
    card_class: str
    cards_count: int
    # The model that it serves; None: none.
    serves: str | None
    simulated: bool

    @property
    def tone(self) -> str:
        return TONES[self.state]

    @property
    def mark(self) -> str:
        return MARKS[self.state]


@dataclass(frozen=True, slots=True)
class ClassRow:
    """Hosts of one card class: in all, and how many are in each state, in the order of the map's states."""

    card_class: str
    total: int
    by_state: tuple[int, ...]
    # Those that are shown one by one, the worst first.
    hosts: tuple[Host, ...]


@dataclass(frozen=True, slots=True)
class FleetMap:
    # That any host is in, the worst first.
    states: tuple[HostState, ...]
    totals: tuple[int, ...]
    rows: tuple[ClassRow, ...]
    hosts_count: int
    # Not shown one by one, because there are too many.
    left_out: int


def fleet_map(hosts: Iterable[Host], *, most: int) -> FleetMap:
    """At most `most` hosts one by one, the worst of the whole fleet; all are counted."""
    order = list(HostState)
    every: Sequence[Host] = sorted(
        hosts, key=lambda host: (order.index(host.state), host.tenant_name, host.name, host.agent_id)
    )
    states = tuple(state for state in order if any(host.state is state for host in every))
    shown = every[:most]
    counts = Counter((host.card_class, host.state) for host in every)
    classes = sorted({host.card_class for host in every}, key=lambda name: (name == NO_CARD, name))
    return FleetMap(
        states=states,
        totals=tuple(sum(counts[name, state] for name in classes) for state in states),
        rows=tuple(
            ClassRow(
                card_class=name,
                total=sum(counts[name, state] for state in states),
                by_state=tuple(counts[name, state] for state in states),
                hosts=tuple(host for host in shown if host.card_class == name),
            )
            for name in classes
        ),
        hosts_count=len(every),
        left_out=len(every) - len(shown),
    )
