"""Gauges of many series, as the lines that Prometheus reads. Pure.

The library formats the labels of each value anew: 175 ms of CPU for 1,000 agents. Writing a card's labels
once for all of its values takes 50.
"""

import math
from collections.abc import Iterable, Mapping


class Gauge:
    """A gauge's lines are the same in Prometheus' text format and in OpenMetrics."""

    def __init__(self, name: str, help_text: str) -> None:
        """`help_text`: without quotes, backslashes and line breaks, which the formats escape differently."""
        self._name = name
        self._lines = [f"# HELP {name} {help_text}", f"# TYPE {name} gauge"]

    def add(self, labels: str, value: float) -> None:
        """`labels`: made by `labelled`."""
        self._lines.append(f"{self._name}{labels} {_number(value)}")

    def lines(self) -> list[str]:
        return self._lines


def labelled(labels: Mapping[str, str]) -> str:
    """The names are ours, the values anybody's."""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def also_labelled(labels: str, name: str, value: str) -> str:
    """`labels`, with one more."""
    return f'{labels[:-1]},{name}="{_escaped(value)}"}}'


def text_of(gauges: Iterable[Gauge]) -> bytes:
    lines = [line for gauge in gauges for line in gauge.lines()]
    return "\n".join([*lines, ""]).encode()


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    if math.isfinite(value):
        return repr(float(value))
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
