"""What commands print: tables and pages for people, JSON for programs."""

import json
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

# Wide enough that nothing is cut where the output is a file or a pipe.
_UNBOUNDED_COLUMNS = 400


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """`empty` is what to say where there are no rows."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(plain(value) for value in row))
    if table.row_count:
        _console().print(table)
    else:
        print(empty)


def print_pairs(pairs: Iterable[tuple[str, object]], indent: str = "") -> None:
    """A line each; None is left out."""
    shown = [(name, plain(value)) for name, value in pairs if value is not None]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        print(f"{indent}{name:<{width}}  {value}")


def plain(value: object) -> str:
    """Text that cannot steer the terminal: what agents and clients sent is not to be trusted."""
    if value is None:
        return "-"
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(value))


def moment(unix_ms: int | None) -> str:
    if unix_ms is None:
        return "-"
    return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def ago(unix_ms: int | None, now_ms: int | None = None) -> str:
    """How long since, by this machine's clock."""
    if unix_ms is None:
        return "never"
    seconds = max(0.0, ((now_ms or time.time_ns() // 1_000_000) - unix_ms) / 1000)
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def milliseconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f} ms" if value < 10_000 else f"{value / 1000:.1f} s"


def usd(pico_usd: int) -> str:
    """Exact, to the last pico-dollar: 0.000004800012 USD."""
    whole, fraction = divmod(abs(pico_usd), 10**12)
    digits = f"{fraction:012d}".rstrip("0").ljust(2, "0")
    return f"{'-' if pico_usd < 0 else ''}{whole}.{digits} USD"


def _console() -> Console:
    return Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else _UNBOUNDED_COLUMNS)
