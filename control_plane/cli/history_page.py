"""An agent's history, printed for people: a line for each reading, with a small chart. A gap stays a gap."""

from collections.abc import Iterator, Sequence
from typing import Any

from control_plane.cli.show import moment, plain, print_table

_BARS = "▁▂▃▄▅▆▇█"
_GAP = " "
_SCALES = {"bytes": (1024**3, "GiB"), "celsius": (1, "°C"), "percent": (1, "%"), "watts": (1, "W")}
_UNITS = ("_celsius", "_percent", "_bytes", "_watts", "_mhz")
Numbers = Sequence[float | None]


def print_history(history: dict[str, Any]) -> None:
    step_ms = history["step_ms"]
    points = f"a point every {_span(step_ms)}" if step_ms else "every sample"
    print(f"{moment(history['from_unix_ms'])} to {moment(history['to_unix_ms'])}, {points}")
    subjects = [(_card_title(card), card) for card in history["cards"]]
    subjects += [("engine", history["engine"])] if history["engine"] else []
    for title, subject in subjects:
        print(f"\n{plain(title)}")
        columns = ("READING", "LEAST", "MEAN", "MOST", "UNIT", "")
        print_table(columns, _rows(subject["fields"]), empty="nothing was reported")
    if not subjects:
        print("nothing was recorded of this agent")


def sparkline(values: Numbers) -> str:
    """A character for each value, between the least and the most of them."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, span = min(known), max(known) - min(known)
    steps = len(_BARS) - 1
    return "".join(
        _GAP if value is None else _BARS[round(steps * (value - low) / span) if span else 0]
        for value in values
    )


def _rows(fields: dict[str, Any]) -> Iterator[Sequence[object]]:
    for name, field in fields.items():
        label = name
        for ending in _UNITS:
            label = label.removesuffix(ending)
        label = label.replace("_", " ")
        if field["reasons"] is not None:
            yield from _reasons(label, field["reasons"])
            continue
        scale, unit = _SCALES.get(field["unit"], (1, field["unit"]))
        mean = _known(field["mean"])
        if mean:
            least, most = _known(field["least"] or field["mean"]), _known(field["most"] or field["mean"])
            middle = sum(mean) / len(mean)
            figures = [f"{value / scale:.4g}" for value in (min(least), middle, max(most))]
            yield label, *figures, unit, sparkline(field["mean"])


def _reasons(label: str, reasons: Sequence[Sequence[str] | None]) -> Iterator[Sequence[object]]:
    """A line for each reason that was seen, with the share of points that have it."""
    known = [each for each in reasons if each is not None]
    for name in sorted({name for each in known for name in each}):
        seen = [None if each is None else float(name in each) for each in reasons]
        share = 100 * sum(name in each for each in known) / len(known)
        yield f"{label}: {name.replace('_', ' ')}", "", f"{share:.0f}", "", "% of points", sparkline(seen)


def _known(values: Numbers) -> list[float]:
    return [value for value in values if value is not None]


def _card_title(card: dict[str, Any]) -> str:
    return f"card {card['card_index']}  {card['card_uuid']}{' (simulated)' if card['simulated'] else ''}"


def _span(ms: int) -> str:
    return f"{ms // 1000} s" if ms < 60_000 else f"{ms // 60_000} min"
