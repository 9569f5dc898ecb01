"""How figures are written for people. Pure; money and tokens are integers, and unknown is never a number."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from markupsafe import Markup

PICO_PER_USD = 10**12
_UNITS = {
    "celsius": "°C",
    "percent": "%",
    "watts": "W",
    "mhz": "MHz",
    "bytes": "GiB",
    "calls": "",
}
_GIB = 1024**3


def figure(value: float, unit: str) -> str:
    """A reading, as a tile shows it."""
    shown = f"{value / _GIB:.1f}" if unit == "bytes" else f"{value:.0f}"
    return f"{shown} {_UNITS.get(unit, unit)}".strip()


def count(value: int) -> str:
    """12,345"""
    return f"{value:,}"


def usd(pico_usd: int) -> str:
    """Exact to a hundredth of a cent, cut off and never rounded up; smaller amounts in full."""
    sign, rest = ("-" if pico_usd < 0 else ""), abs(pico_usd)
    whole, part = divmod(rest, PICO_PER_USD)
    digits = f"{part:012d}"
    shown = digits[:4] if digits[:4] != "0000" or part == 0 else digits.rstrip("0")
    return f"{sign}${whole:,}.{shown}"


def price(micro_usd: int) -> str:
    """Of a million tokens, exact: a price is not cut."""
    whole, part = divmod(micro_usd, 10**6)
    digits = f"{part:06d}".rstrip("0")
    return f"${whole:,}.{digits:0<2}"


def percent(basis_points: int) -> str:
    whole, part = divmod(basis_points, 100)
    return f"{whole}.{part:02d}".rstrip("0").rstrip(".") + " %"


def milliseconds(duration_ms: float) -> str:
    return f"{duration_ms:.0f} ms" if duration_ms < 10_000 else f"{duration_ms / 1000:.1f} s"


def moment(unix_ms: int | None) -> Markup:
    """In UTC, which the page's script turns to the viewer's own zone."""
    if unix_ms is None:
        return Markup("never")
    at = datetime.fromtimestamp(unix_ms / 1000, UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        at.isoformat(timespec="seconds"), f"{at:%Y-%m-%d %H:%M} UTC"
    )


def word(text: str) -> str:
    """A code in words: hardware_thermal, hardware thermal."""
    return text.replace("_", " ")


FILTERS: Mapping[str, Callable[..., str]] = {
    "figure": figure,
    "count": count,
    "usd": usd,
    "moment": moment,
    "price": price,
    "percent": percent,
    "milliseconds": milliseconds,
    "word": word,
}
