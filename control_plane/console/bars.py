"""A chart of amounts by day as SVG's numbers: one bar each, from nothing up. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from control_plane.console.chart import BOTTOM, TOP, WIDTH

# Of a bar's place, so that neighbours are told apart.
_FILLED = 0.76
# What is not nothing can be seen.
_LEAST_HEIGHT = 1.5


@dataclass(frozen=True, slots=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    label: str
    amount: int


def bars(amounts: Sequence[tuple[str, int]]) -> list[Bar]:
    """Of (label, amount), from the left; an amount of 0, or less, has no height."""
    most = max((amount for _, amount in amounts), default=0)
    place = WIDTH / max(len(amounts), 1)
    drawn = []
    for index, (label, amount) in enumerate(amounts):
        height = max((BOTTOM - TOP) * amount / most, _LEAST_HEIGHT) if amount > 0 else 0.0
        x = round(place * (index + (1 - _FILLED) / 2), 1)
        drawn.append(
            Bar(x, round(BOTTOM - height, 1), round(place * _FILLED, 1), round(height, 1), label, amount)
        )
    return drawn
