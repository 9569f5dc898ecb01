"""Rows go into a chunk and come out again as they were, or rolled up."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.fleet.telemetry.chunk import COUNT, LEAST, MEAN, MOST, Chunk, Damaged, decode
from control_plane.fleet.telemetry.fields import Field, Kind, Row

FIELDS = (Field("a", ""), Field("b", "", Kind.FLAGS))
# What 32 bits hold exactly.
_numbers = st.integers(-(2**20), 2**20).map(float)
_rows = st.lists(st.tuples(st.none() | _numbers, st.none() | st.integers(0, 1_023).map(float)), max_size=40)


def _rolled(rows: Sequence[Row], offset: int = 3) -> list[list[float]]:
    """Count, mean, least and most of each field, of one step."""
    chunk = Chunk(FIELDS, is_raw=False)
    for row in rows:
        chunk.add(offset, row)
    columns = decode(chunk.encode(), FIELDS, is_raw=False)
    assert [list(column) for column in columns[:1]] == [[offset]]
    return [[columns[1 + 4 * place + part][0] for part in range(4)] for place in range(2)]


@given(_rows)
def test_raw_rows_come_out_as_they_went_in(rows: list[tuple[float | None, float | None]]) -> None:
    chunk = Chunk(FIELDS, is_raw=True)
    for number, row in enumerate(rows):
        chunk.add(number * 2_000, row)
    offsets, *columns = decode(chunk.encode(), FIELDS, is_raw=True)
    assert list(offsets) == [number * 2_000 for number in range(len(rows))]
    came = [
        tuple(None if math.isnan(value) else value for value in row) for row in zip(*columns, strict=True)
    ]
    assert came == rows


@given(st.lists(_numbers, min_size=1, max_size=450))
def test_a_step_has_the_count_mean_least_and_most_of_its_samples(values: list[float]) -> None:
    number, _ = _rolled([(value, None) for value in values])
    assert (number[COUNT], number[LEAST], number[MOST]) == (len(values), min(values), max(values))
    largest = max(abs(value) for value in values)
    assert math.isclose(number[MEAN], sum(values) / len(values), rel_tol=1e-4, abs_tol=1e-4 * largest)


def test_absent_values_count_for_nothing() -> None:
    number, flags = _rolled([(None, None), (10, None), (None, None), (20, None)])
    assert number == [2, 15, 10, 20]
    assert flags[COUNT] == 0
    assert math.isnan(flags[MOST])


def test_flags_of_a_step_are_all_that_were_seen() -> None:
    _, flags = _rolled([(None, 0b001), (None, 0b100), (None, 0b001)])
    assert int(flags[MOST]) == 0b101


def test_a_clock_that_was_set_back_adds_to_the_step_that_is_there() -> None:
    chunk = Chunk(FIELDS, is_raw=False)
    for offset, value in ((1, 10.0), (2, 20.0), (1, 30.0), (2, 40.0), (0, 50.0)):
        chunk.add(offset, (value, None))
    columns = decode(chunk.encode(), FIELDS, is_raw=False)
    assert sorted(zip(columns[0], columns[1 + MEAN], strict=True)) == [(0, 50), (1, 20), (2, 30)]


@pytest.mark.parametrize("is_raw", [True, False])
def test_a_stored_chunk_is_gone_on_with(is_raw: bool) -> None:
    whole, first, second = (Chunk(FIELDS, is_raw=is_raw) for _ in range(3))
    rows: list[tuple[int, Row]] = [(0, (1, 1)), (1, (2, None)), (1, (5, 2)), (2, (None, 4))]
    for offset, row in rows:
        whole.add(offset, row)
    for offset, row in rows[:2]:
        first.add(offset, row)
    second.load(first.encode())
    assert len(second) == len(first)
    for offset, row in rows[2:]:
        second.add(offset, row)
    assert second.encode() == whole.encode()


@pytest.mark.parametrize("is_raw", [True, False])
def test_a_field_that_was_added_later_is_absent_in_what_was_stored_before(is_raw: bool) -> None:
    chunk = Chunk(FIELDS[:1], is_raw=is_raw)
    chunk.add(0, (7,))
    columns = decode(chunk.encode(), FIELDS, is_raw=is_raw)
    assert len(columns) == (3 if is_raw else 9)
    assert columns[1 if is_raw else 1 + MEAN][0] == 7
    assert math.isnan(columns[-1][0])


@pytest.mark.parametrize("stored", [b"", b"\x01", b"\x01\x02", b"\x01\x02rubbish", b"\x09\x02x\x9c"])
def test_what_is_no_chunk_is_said_to_be_damaged(stored: bytes) -> None:
    with pytest.raises(Damaged):
        decode(stored, FIELDS, is_raw=True)


def test_a_chunk_that_was_cut_short_is_damaged() -> None:
    chunk = Chunk(FIELDS, is_raw=True)
    chunk.add(0, (1, 1))
    other = Chunk(FIELDS[:1], is_raw=True)
    other.add(0, (1,))
    mixed = chunk.encode()[:2] + other.encode()[2:]
    with pytest.raises(Damaged):
        decode(mixed, FIELDS, is_raw=True)
