"""How well an agent's cards are: each rule's life from quiet to raised and back. Pure.

          at or above raise_at                    held for raise_after_s
QUIET ------------------------------> PENDING ------------------------------> RAISED
  ^                                      |                                    |    ^
  |<-------------------------------------+             below clear_below      |    |
  |            below raise_at                                                 v    |
  +------------------------------------------------------------------------ CLEARING
                       held for clear_after_s                at or above clear_below: back
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from daalu_wire.v1 import agent_pb2

from control_plane.fleet.health_measures import (
    Measured,
    Recognise,
    Share,
    driver,
    grown,
    measures,
    slowdowns,
)
from control_plane.fleet.health_rules import RULES, Health, Measure, Rule

_ORDER = (Health.UNKNOWN, Health.GOOD, Health.WARNING, Health.CRITICAL)
# A card that is not lost, and of which the kernel's log has nothing, has not said how it is.
_SAYS_NOTHING_OF_ITSELF = frozenset({Measure.LOST, Measure.XID, Measure.XID_FATAL})
# An agent's own words are shown to operators.
MAX_SAID_CHARACTERS = 200
# Cards that one agent may have; further ones are not looked at.
MAX_CARDS = 64


class Phase(StrEnum):
    QUIET = "quiet"
    PENDING = "pending"
    RAISED = "raised"
    CLEARING = "clearing"


@dataclass(frozen=True, slots=True)
class Watch:
    """Where one rule is on one card. Times: monotonic seconds, and Unix milliseconds for showing."""

    phase: Phase = Phase.QUIET
    since_s: float = 0.0
    raised_unix_ms: int = 0
    # The last evidence at or above the limit.
    seen: Measured = field(default_factory=lambda: Measured(None))

    @property
    def is_raised(self) -> bool:
        return self.phase in (Phase.RAISED, Phase.CLEARING)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, why that is believed, since when, and what to do."""

    code: str
    subject: Measure
    health: Health
    evidence: str
    advice: str
    since_unix_ms: int
    # None: of the host, not of one card.
    card_uuid: str | None


@dataclass(frozen=True, slots=True)
class CardState:
    watches: Mapping[str, Watch] = field(default_factory=dict)
    shares: Mapping[Measure, Share] = field(default_factory=dict)
    # Whether anything was ever read of it.
    read: bool = False


@dataclass(frozen=True, slots=True)
class AgentHealth:
    """What is known of an agent's cards; replaced with each sample."""

    cards: Mapping[str, CardState] = field(default_factory=dict)
    host: CardState = field(default_factory=CardState)

    def findings(self) -> list[Finding]:
        """The worst of each subject, worst first."""
        found = _findings(self.host, None)
        for uuid, card in self.cards.items():
            found += _findings(card, uuid)
        return sorted(found, key=lambda finding: -_ORDER.index(finding.health))

    def of_card(self, uuid: str) -> Health:
        """What is wrong with the host is wrong with each of its cards."""
        card = self.cards.get(uuid, CardState())
        seen = [Health.GOOD] if card.read else [Health.UNKNOWN]
        found = _findings(self.host, None) + _findings(card, uuid)
        return _worst([*seen, *(finding.health for finding in found)])

    @property
    def health(self) -> Health:
        """Of the worst card."""
        host = [finding.health for finding in _findings(self.host, None)]
        return _worst([*host, *(self.of_card(uuid) for uuid in self.cards)])


def observe(
    before: AgentHealth,
    sample: agent_pb2.TelemetrySample,
    inventory: agent_pb2.GetInventoryResponse | None,
    recognise: Recognise,
    now: tuple[float, int],
) -> AgentHealth:
    """What a sample makes of it. `now`: monotonic seconds and Unix milliseconds."""
    described = {card.uuid: card for card in (inventory.cards if inventory else ())}
    cards = {}
    for card in sample.cards[:MAX_CARDS]:
        card_class = recognise(described[card.uuid]) if card.uuid in described else None
        known = before.cards.get(card.uuid, CardState())
        cards[card.uuid] = _look_at_card(known, card, measures(card, card_class, sample.sampled_unix_ms), now)
    # A card that is not in the sample keeps its state: its absence is no evidence that it is well.
    kept = {uuid: state for uuid, state in before.cards.items() if uuid in described and uuid not in cards}
    host = _look(before.host, {Measure.DRIVER: driver(sample.card_system)}, now)
    return AgentHealth(MappingProxyType({**kept, **cards}), host)


def findings_in_words(health: AgentHealth, sample: agent_pb2.TelemetrySample) -> str:
    """For the history: which card, what is wrong, what to do, and what follows from it; empty: nothing is."""
    names: dict[str | None, str] = {card.uuid: f"card {card.index}" for card in sample.cards}
    told = [
        f"{names.get(found.card_uuid, 'host')}: {found.evidence}; advice: {found.advice}"
        for found in health.findings()
    ]
    if health.health is Health.CRITICAL:
        told.insert(0, "takes no calls of pools until this is over")
    return ". ".join(told)


def step(rule: Rule, watch: Watch, measured: Measured, now: tuple[float, int]) -> Watch:
    """One rule, one look."""
    now_s, now_unix_ms = now
    value = measured.value
    if value is None:
        return _without_evidence(watch)
    high, calm = value >= rule.raise_at, value < rule.clear_below
    match watch.phase:
        case Phase.QUIET if high:
            watch = Watch(Phase.PENDING, now_s, 0, measured)
        case Phase.PENDING if not high:
            watch = Watch()
        case Phase.RAISED if calm:
            watch = replace(watch, phase=Phase.CLEARING, since_s=now_s)
        case Phase.CLEARING if not calm:
            watch = replace(watch, phase=Phase.RAISED, since_s=now_s)
    if high and watch.phase is not Phase.QUIET:
        watch = replace(watch, seen=measured)
    held_s = now_s - watch.since_s
    if watch.phase is Phase.PENDING and held_s >= rule.raise_after_s:
        return replace(watch, phase=Phase.RAISED, since_s=now_s, raised_unix_ms=now_unix_ms)
    if watch.phase is Phase.CLEARING and held_s >= rule.clear_after_s:
        return Watch()
    return watch


def _without_evidence(watch: Watch) -> Watch:
    """What was about to be raised or taken back needs unbroken evidence; what is raised stays."""
    match watch.phase:
        case Phase.PENDING:
            return Watch()
        case Phase.CLEARING:
            return replace(watch, phase=Phase.RAISED)
        case _:
            return watch


def _look_at_card(
    before: CardState, sample: agent_pb2.CardSample, measured: dict[Measure, Measured], now: tuple[float, int]
) -> CardState:
    shares = dict(before.shares)
    for measure, held in (slowdowns(sample) or {}).items():
        shares[measure] = grown(shares.get(measure, Share()), held, now[0])
        measured[measure] = Measured(shares[measure].percent)
    return replace(_look(before, measured, now), shares=MappingProxyType(shares))


def _look(before: CardState, measured: Mapping[Measure, Measured], now: tuple[float, int]) -> CardState:
    watches = {}
    for rule in RULES:
        watch = before.watches.get(rule.code, Watch())
        if rule.measure in measured:
            watch = step(rule, watch, measured[rule.measure], now)
        if watch.phase is not Phase.QUIET:
            watches[rule.code] = watch
    read = any(
        each.value is not None for measure, each in measured.items() if measure not in _SAYS_NOTHING_OF_ITSELF
    )
    return replace(before, watches=MappingProxyType(watches), read=before.read or read)


def _findings(state: CardState, uuid: str | None) -> list[Finding]:
    if not state.watches:
        # As of nearly every card: looking at each rule was a tenth of a scrape of 1,000 agents.
        return []
    worst: dict[Measure, Finding] = {}
    for rule in RULES:
        watch = state.watches.get(rule.code)
        if watch is None or not watch.is_raised:
            continue
        # Rules of one measure stand in the table with the worse one later.
        worst[rule.measure] = Finding(
            code=rule.code,
            subject=rule.measure,
            health=rule.health,
            evidence=rule.evidence.format(
                value=watch.seen.value, limit=rule.raise_at, said=watch.seen.said[:MAX_SAID_CHARACTERS]
            ),
            advice=rule.advice,
            since_unix_ms=watch.raised_unix_ms,
            card_uuid=uuid,
        )
    return list(worst.values())


def _worst(seen: Iterable[Health]) -> Health:
    return max(seen, key=_ORDER.index, default=Health.UNKNOWN)
