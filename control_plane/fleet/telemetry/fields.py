"""Which readings are kept, and how they are had from a sample. Pure.

A reading that is not supported, failed or was not made is None, and never 0.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from daalu_wire.v1 import agent_pb2

from control_plane.fleet.health_measures import value_of
from control_plane.fleet.projection import engine_is_expected

# The subject that is not a card. A card's is its UUID.
ENGINE = "engine"
# An agent's words are not trusted: no card has a UUID as long, no host as many cards.
MAX_UUID_CHARACTERS = 96
MAX_CARDS = 64
# Beyond what any reading can be, and still finite where it is stored.
MAX_VALUE = 1e18


class Kind(Enum):
    NUMBER = auto()
    # A set of enum values, as bits; a roll-up has every one that was seen.
    FLAGS = auto()


@dataclass(frozen=True, slots=True)
class Field:
    """`name` is the wire's. `unit` as elsewhere in REST."""

    name: str
    unit: str
    kind: Kind = Kind.NUMBER


# Their order is their place in the file: only ever added to at the end.
CARD_FIELDS = (
    Field("temperature_celsius", "celsius"),
    Field("utilisation_percent", "percent"),
    Field("memory_used_bytes", "bytes"),
    Field("power_watts", "watts"),
    Field("clock_graphics_mhz", "mhz"),
    Field("clock_memory_mhz", "mhz"),
    Field("fan_percent", "percent"),
    Field("throttle", "", Kind.FLAGS),
)
ENGINE_FIELDS = (
    Field("running_calls", "calls"),
    Field("waiting_calls", "calls"),
    Field("kv_cache_percent", "percent"),
)
FIELDS: Mapping[str, Field] = {field.name: field for field in (*CARD_FIELDS, *ENGINE_FIELDS)}

Row = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class SubjectSample:
    """What one sample says of one subject. `index` is the card's; None: the engine."""

    subject: str
    index: int | None
    simulated: bool
    row: Row


def fields_of(subject: str) -> tuple[Field, ...]:
    return ENGINE_FIELDS if subject == ENGINE else CARD_FIELDS


def subjects(sample: agent_pb2.TelemetrySample) -> Iterator[SubjectSample]:
    """Those of which anything is known. A lost card's readings are errors, so it is not among them."""
    for card in sample.cards[:MAX_CARDS]:
        row = _card_row(card)
        if card.uuid and len(card.uuid) <= MAX_UUID_CHARACTERS and _says_something(row):
            yield SubjectSample(card.uuid, card.index, card.simulated, row)
    # An engine that does not answer has no queue, rather than an empty one.
    if engine_is_expected(sample.engine):
        yield SubjectSample(ENGINE, None, False, _engine_row(sample.engine))


def words(bits: float) -> list[str]:
    """The reasons in a value of kind FLAGS."""
    return [
        name.removeprefix("THROTTLE_REASON_").lower()
        for name, number in agent_pb2.ThrottleReason.items()
        if int(bits) >> number & 1
    ]


def throttle_words(card: agent_pb2.CardSample) -> list[str]:
    """Why its clock is held down now; empty also where it does not say."""
    return words(_throttle(card) or 0.0)


def _card_row(card: agent_pb2.CardSample) -> Row:
    return [
        _sane(value_of(getattr(card, field.name))) if field.kind is Kind.NUMBER else _throttle(card)
        for field in CARD_FIELDS
    ]


def _engine_row(engine: agent_pb2.EngineSample) -> Row:
    return [
        float(engine.running_calls),
        float(engine.waiting_calls),
        _sane(value_of(engine.kv_cache_percent)),
    ]


def _throttle(card: agent_pb2.CardSample) -> float | None:
    if card.throttle.WhichOneof("reading") != "value":
        return None
    known = agent_pb2.ThrottleReason.values()
    bits = 0
    for reason in card.throttle.value.reasons:
        bits |= 1 << (reason if reason in known else agent_pb2.THROTTLE_REASON_UNSPECIFIED)
    return float(bits)


def _sane(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) and abs(value) <= MAX_VALUE else None


def _says_something(row: Row) -> bool:
    return any(value is not None for value in row)
