"""From chunks to what a page shows: points in order, with gaps where nothing is known. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from control_plane.fleet.telemetry.chunk import COUNT, LEAST, MEAN, MOST
from control_plane.fleet.telemetry.fields import Field, Kind, fields_of, words
from control_plane.fleet.telemetry.tiers import RAW, Choice
from control_plane.identifiers import AgentId, TenantId

# Raw samples further apart than this have a gap between them: as long as an agent takes to be suspect.
GAP_MS = 5 * RAW.step_ms

_PARTS = 4
# Up to here a 32-bit float has every whole number.
_WHOLE = 2.0**24

Columns = Sequence[Sequence[float]]
# Of one step: count, mean, least and most.
Parts = tuple[float, float, float, float]
# A slot and its chunk's columns.
Decoded = tuple[int, Columns]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A range of one agent's history. `subject` and `fields`: only these; None: all."""

    tenant_id: TenantId
    agent_id: AgentId
    from_unix_ms: int
    to_unix_ms: int
    most_points: int
    subject: str | None = None
    fields: frozenset[str] | None = None


@dataclass(slots=True)
class Values:
    """One field, a value for each point; None: not known then. Raw samples have means only."""

    reading: Field
    mean: list[float | None] = field(default_factory=list)
    least: list[float | None] = field(default_factory=list)
    most: list[float | None] = field(default_factory=list)
    # Of a field of kind FLAGS, which has no numbers.
    flags: list[list[str] | None] = field(default_factory=list)

    def gap(self) -> None:
        for values in (self.mean, self.least, self.most, self.flags):
            values.append(None)


@dataclass(frozen=True, slots=True)
class SubjectHistory:
    """`index` and `simulated` are a card's."""

    subject: str
    index: int | None
    simulated: bool
    at_unix_ms: list[int]
    values: Mapping[str, Values]


@dataclass(frozen=True, slots=True)
class History:
    """`step_ms` between points; 0: as the samples came, with an empty point in each gap."""

    step_ms: int
    subjects: list[SubjectHistory]


def raw_history(
    wanted: Wanted, subject: tuple[str, int | None, bool], chunks: Iterable[Decoded], choice: Choice
) -> SubjectHistory:
    fields = _fields(wanted, subject[0])
    rows = [
        (choice.tier.moment_ms(slot, offset), columns, row)
        for slot, columns in chunks
        for row, offset in enumerate(columns[0])
    ]
    rows = [each for each in rows if wanted.from_unix_ms <= each[0] < wanted.to_unix_ms]
    # The clock may have been set back.
    rows.sort(key=lambda each: each[0])
    moments: list[int] = []
    values = {each.name: Values(each) for _, each in fields}
    for moment_ms, columns, row in rows:
        if moments and moment_ms - moments[-1] > GAP_MS:
            moments.append((moments[-1] + moment_ms) // 2)
            for each in values.values():
                each.gap()
        moments.append(moment_ms)
        for place, each_field in fields:
            value = columns[1 + place][row]
            known = None if math.isnan(value) else (1.0, value, value, value)
            _append(values[each_field.name], known)
    return SubjectHistory(*subject, moments, values)


def stepped_history(
    wanted: Wanted, subject: tuple[str, int | None, bool], chunks: Iterable[Decoded], choice: Choice
) -> SubjectHistory:
    """A point for every step of the range."""
    step_ms = choice.step_ms
    first = wanted.from_unix_ms // step_ms
    count = -(-wanted.to_unix_ms // step_ms) - first
    placed = []
    for slot, columns in chunks:
        points = [choice.tier.moment_ms(slot, offset) // step_ms - first for offset in columns[0]]
        placed.append((columns, [(row, point) for row, point in enumerate(points) if 0 <= point < count]))
    values = {}
    for place, each in _fields(wanted, subject[0]):
        # By columns: a page has thousands of values, and what is looked up once is not looked up for each.
        at = 1 + _PARTS * place
        folded: list[Parts | None] = [None] * count
        for columns, rows in placed:
            counts, means, leasts, mosts = columns[at : at + _PARTS]
            for row, point in rows:
                if counts[row]:
                    parts = counts[row], means[row], leasts[row], mosts[row]
                    before = folded[point]
                    folded[point] = parts if before is None else _merged(before, parts, each)
        values[each.name] = one = Values(each)
        for known in folded:
            _append(one, known)
    return SubjectHistory(*subject, [(first + point) * step_ms for point in range(count)], values)


def _fields(wanted: Wanted, subject: str) -> list[tuple[int, Field]]:
    """With their places in a row."""
    return [
        (place, each)
        for place, each in enumerate(fields_of(subject))
        if wanted.fields is None or each.name in wanted.fields
    ]


def _merged(before: Parts, parts: Parts, reading: Field) -> Parts:
    count = before[COUNT] + parts[COUNT]
    most = (
        float(int(before[MOST]) | int(parts[MOST]))
        if reading.kind is Kind.FLAGS
        else max(before[MOST], parts[MOST])
    )
    mean = (before[MEAN] * before[COUNT] + parts[MEAN] * parts[COUNT]) / count
    return count, mean, min(before[LEAST], parts[LEAST]), most


def _append(values: Values, parts: Parts | None) -> None:
    if parts is None:
        values.gap()
    elif values.reading.kind is Kind.FLAGS:
        values.gap()
        values.flags[-1] = words(parts[MOST])
    else:
        values.mean.append(_short(parts[MEAN]))
        values.least.append(_short(parts[LEAST]))
        values.most.append(_short(parts[MOST]))
        values.flags.append(None)


def _short(value: float) -> float:
    """Without the digits that a 32-bit float has not. Most readings are whole numbers, and need no look."""
    return value if value.is_integer() and abs(value) < _WHOLE else float(f"{value:.7g}")
