"""Tables as CSV (RFC 4180), safe to open in a spreadsheet."""

import csv
import io
from collections.abc import Sequence
from enum import StrEnum
from inspect import signature
from typing import TypeVar

from fastapi import Response

# What makes a spreadsheet take a cell for a formula, also behind white space.
_FORMULA = ("=", "+", "-", "@", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}",
            "\N{FULLWIDTH HYPHEN-MINUS}", "\N{FULLWIDTH COMMERCIAL AT}")  # fmt: skip


Row = TypeVar("Row")


class Form(StrEnum):
    JSON = "json"
    CSV = "csv"


def as_wanted(rows: list[Row], row_type: type[Row], form: Form, name: str) -> list[Row] | Response:
    """`rows` themselves, or a file `name`.csv of them."""
    if form is Form.JSON:
        return rows
    # Of dataclasses and of pydantic models alike; there also where there are no rows.
    columns = tuple(signature(row_type).parameters)
    text = csv_text(columns, [[getattr(row, column) for column in columns] for row in rows])
    headers = {"content-disposition": f'attachment; filename="{name}.csv"'}
    return Response(text, media_type="text/csv; charset=utf-8", headers=headers)


def csv_text(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """None is an empty cell. Text that a spreadsheet would run gets an apostrophe before it."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = str(value)
    if isinstance(value, str) and (text.lstrip().startswith(_FORMULA) or text.startswith(("\t", "\r", "\n"))):
        return "'" + text
    return text
