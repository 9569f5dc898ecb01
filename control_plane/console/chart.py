"""Line charts as SVG's numbers: a line with gaps where nothing is known, and marks on the time axis. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH = 320
HEIGHT = 96
HEADROOM = 1.15
TOP = 6
BOTTOM = 80


@dataclass(frozen=True, slots=True)
class Chart:
    title: str
    unit: str
    # SVG path data; empty: nothing is known.
    path: str
    # Where each mark is, from the left.
    marks: list[float]
    least: float | None
    most: float | None
    from_unix_ms: int
    to_unix_ms: int


def chart(
    title: str,
    unit: str,
    at_unix_ms: Sequence[int],
    values: Sequence[float | None],
    *,
    span: tuple[int, int],
    marks_unix_ms: Sequence[int] = (),
    ceiling: float | None = None,
) -> Chart:
    """From 0 to `ceiling`, or to above what is most where that is not known or less."""
    begin, end = span
    known = [value for value in values if value is not None]
    # Some air above the most, so that a level line is no border.
    top = max(ceiling or 0.0, HEADROOM * max(known, default=0.0), 1.0)

    def x(moment: int) -> float:
        return round((moment - begin) / (end - begin) * WIDTH, 1)

    pieces: list[str] = []
    is_drawing = False
    for moment, value in zip(at_unix_ms, values, strict=True):
        if value is None:
            is_drawing = False
            continue
        y = round(BOTTOM - max(value, 0.0) / top * (BOTTOM - TOP), 1)
        # A point alone is a dot: a line of no length, with round ends.
        pieces.append(f"L{x(moment)} {y}" if is_drawing else f"M{x(moment)} {y}h0")
        is_drawing = True
    return Chart(
        title=title,
        unit=unit,
        path="".join(pieces),
        marks=[x(moment) for moment in marks_unix_ms if begin <= moment <= end],
        least=min(known, default=None),
        most=max(known, default=None),
        from_unix_ms=begin,
        to_unix_ms=end,
    )
