"""A CSV file says what the table says, and runs nothing in a spreadsheet."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.api.csv_table import csv_text


def _read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "\r=1", "\n1", "\N{FULLWIDTH EQUALS SIGN}1"]
)
def test_text_that_a_spreadsheet_would_run_is_made_text(text: str) -> None:
    assert _read(csv_text(["name"], [[text]])) == [["name"], ["'" + text]]


def test_numbers_stay_numbers_and_nothing_stays_empty() -> None:
    assert csv_text(["a", "b", "c"], [[-5, None, 10**18]]) == "a,b,c\r\n-5,,1000000000000000000\r\n"


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x00")), min_size=2, max_size=2))
def test_a_row_is_read_back_as_it_was_but_for_the_apostrophe(row: list[str]) -> None:
    _, read = _read(csv_text(["a", "b"], [row]))
    assert all(got in (cell, "'" + cell) for got, cell in zip(read, row, strict=True))
