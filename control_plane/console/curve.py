"""The throughput-latency curve of a load test as SVG's numbers. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

WIDTH = 640
HEIGHT = 280
HEADROOM = 1.12
_LEFT = 56
_RIGHT = 16
_TOP = 16
_BOTTOM = 232


class Step(Protocol):
    """What of a step is drawn."""

    @property
    def concurrency(self) -> int: ...

    @property
    def output_tokens_per_s(self) -> float: ...

    @property
    def ttft_p90_ms(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Point:
    x: float
    y: float
    concurrency: int
    is_knee: bool


@dataclass(frozen=True, slots=True)
class Curve:
    """To the right what comes out, upwards what is waited for."""

    points: list[Point]
    # SVG path data; `earlier_path` is empty where there is nothing to compare with.
    path: str
    earlier_path: str
    most_tokens_per_s: float
    most_ms: float


def curve(steps: Sequence[Step], knee: int | None, earlier: Sequence[Step] = ()) -> Curve | None:
    """Both axes from 0, alike for both tests. None: no step has ended."""
    if not steps:
        return None
    every = (*steps, *earlier)
    most_tokens = max(HEADROOM * max(step.output_tokens_per_s for step in every), 1.0)
    most_ms = max(HEADROOM * max(step.ttft_p90_ms for step in every), 1.0)

    def place(step: Step) -> tuple[float, float]:
        return (
            round(_LEFT + step.output_tokens_per_s / most_tokens * (WIDTH - _LEFT - _RIGHT), 1),
            round(_BOTTOM - step.ttft_p90_ms / most_ms * (_BOTTOM - _TOP), 1),
        )

    def path(of: Sequence[Step]) -> str:
        return "".join(f"{'L' if number else 'M'}{x} {y}" for number, (x, y) in enumerate(map(place, of)))

    points = [Point(*place(step), step.concurrency, step.concurrency == knee) for step in steps]
    return Curve(points, path(steps), path(earlier), most_tokens, most_ms)
