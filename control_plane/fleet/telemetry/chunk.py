"""One subject's rows of one tier in one slot of time, filled row by row and stored as one value. Pure.

A row is its offset and then, of raw samples, a value for each field, or, of a roll-up, four: how many values
came, their mean, minimum and maximum. All are 32-bit floats (seven digits) and NaN where there is none.
Stored by columns and compressed, since a column changes little: 60 rows of a card take about 0.6 KB raw and
2 KB rolled up.
"""

import math
import zlib
from array import array
from collections.abc import Sequence

from control_plane.fleet.telemetry.fields import Field, Kind, Row

COUNT, MEAN, LEAST, MOST = range(4)
_PARTS = 4
_ABSENT = math.nan
# Smaller gains nothing, and takes longer.
_LEVEL = 1
_VERSION = 1
_HEAD_BYTES = 2


class Damaged(ValueError):
    """Stored bytes that are no chunk."""


class Chunk:
    """Rows of a series, open for more; in the machine's own byte order, since the file is its own."""

    __slots__ = ("_fields", "_flat", "_parts", "_width")

    def __init__(self, fields: Sequence[Field], *, is_raw: bool) -> None:
        self._fields = fields
        self._parts = 1 if is_raw else _PARTS
        self._width = 1 + len(fields) * self._parts
        self._flat = array("f")

    def __len__(self) -> int:
        return len(self._flat) // self._width

    def add(self, offset: int, row: Row) -> None:
        """A raw sample becomes a row; for a roll-up it goes into its step's."""
        if self._parts == 1:
            self._flat.append(offset)
            self._flat.extend(_ABSENT if value is None else value for value in row)
        else:
            self._fold(self._base(offset), row)

    def encode(self) -> bytes:
        columns = (self._flat[column :: self._width].tobytes() for column in range(self._width))
        return bytes((_VERSION, len(self._fields))) + zlib.compress(b"".join(columns), _LEVEL)

    def load(self, stored: bytes) -> None:
        """Goes on from what was stored. Raises Damaged."""
        columns = decode(stored, self._fields, is_raw=self._parts == 1)
        self._flat = array("f", (value for row in zip(*columns, strict=True) for value in row))

    def _base(self, offset: int) -> int:
        """Where the row of a step begins. It is the last one, unless the clock was set back."""
        flat, width = self._flat, self._width
        last = len(flat) - width
        if last >= 0 and flat[last] == offset:
            return last
        for base in range(last - width, -1, -width):
            if flat[base] == offset:
                return base
        flat.append(offset)
        flat.extend((0.0, _ABSENT, _ABSENT, _ABSENT) * len(self._fields))
        return last + width

    def _fold(self, base: int, row: Row) -> None:
        flat, at = self._flat, base + 1
        for field, value in zip(self._fields, row, strict=True):
            if value is not None:
                count = flat[at + COUNT] = flat[at + COUNT] + 1
                if count == 1:
                    flat[at + MEAN] = flat[at + LEAST] = flat[at + MOST] = value
                elif field.kind is Kind.FLAGS:
                    flat[at + MOST] = int(flat[at + MOST]) | int(value)
                else:
                    flat[at + MEAN] += (value - flat[at + MEAN]) / count
                    if value < flat[at + LEAST]:
                        flat[at + LEAST] = value
                    elif value > flat[at + MOST]:
                        flat[at + MOST] = value
            at += _PARTS


def decode(stored: bytes, fields: Sequence[Field], *, is_raw: bool) -> list["array[float]"]:
    """The columns: offsets, then each field's. One that was stored before a field was known has it absent.

    Raises Damaged.
    """
    parts = 1 if is_raw else _PARTS
    try:
        version, fields_count = stored[0], stored[1]
        content = zlib.decompress(stored[_HEAD_BYTES:])
    except (IndexError, zlib.error) as error:
        raise Damaged(f"no chunk of telemetry: {error}") from error
    width = 1 + fields_count * parts
    if version != _VERSION or len(content) % (width * 4):
        raise Damaged(f"a chunk of telemetry of version {version} with {len(content)} bytes")
    rows = len(content) // (width * 4)
    columns = []
    for column in range(min(width, 1 + len(fields) * parts)):
        values = array("f")
        values.frombytes(content[column * rows * 4 : (column + 1) * rows * 4])
        columns.append(values)
    for missing in range(len(columns), 1 + len(fields) * parts):
        is_count = not is_raw and (missing - 1) % _PARTS == COUNT
        columns.append(array("f", [0.0 if is_count else _ABSENT]) * rows)
    return columns
