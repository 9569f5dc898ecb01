"""`daalu top`: the fleet in the terminal, as it is now."""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from control_plane.cli.failure import Unreachable
from control_plane.cli.fleet_page import COLUMNS, FleetRow, Only, Sort, fleet_rows, summary
from control_plane.cli.rest import DATA, Data, Json, Target, Token, Url, ask, ask_quietly, find_target
from control_plane.cli.show import plain, print_json, print_table

if TYPE_CHECKING:
    from rich.console import RenderableType


def top(
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only this tenant's hosts.")] = None,
    sort: Annotated[Sort, typer.Option("--sort", help="The highest first; by name from A on.")] = Sort.NAME,
    only: Annotated[Only, typer.Option("--only", help="Hosts that are so.")] = Only.ALL,
    every_s: Annotated[
        float, typer.Option("--every", min=0.5, max=3_600, help="Seconds between two looks.")
    ] = 2.0,
    once: Annotated[
        bool, typer.Option("--once", help="Look once and end; so also where no terminal is.")
    ] = False,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Every host and card now: reachable, serving, how hot and how full. Ctrl-C ends it.

    Silent hosts are dimmed, with what they last reported and when. What a card cannot say is said so.
    """
    target = find_target(url, token, data)
    params = {} if tenant is None else {"tenant": tenant}
    found = ask(target, "GET", "/fleet", params=params)
    if as_json:
        print_json(found)
    elif once or not sys.stdout.isatty():
        rows = fleet_rows(found, sort, only, time.time_ns() // 1_000_000)
        print_table(
            COLUMNS, [row.cells for row in rows], empty="no hosts: daalu agents invite --tenant TENANT"
        )
    else:
        try:
            _follow(target, params, found, sort, only, every_s)
        except KeyboardInterrupt:
            return


def _follow(
    target: Target, params: dict[str, str], found: Any, sort: Sort, only: Only, every_s: float
) -> None:
    from rich.live import Live  # noqa: PLC0415 - only here: other commands start faster without it

    trouble = ""
    with Live(screen=True, auto_refresh=False) as live:
        while True:
            rows = fleet_rows(found, sort, only, time.time_ns() // 1_000_000)
            live.update(_page(rows, trouble or f"{summary(found)}; Ctrl-C ends"), refresh=True)
            time.sleep(every_s)
            try:
                found, trouble = ask_quietly(target, "GET", "/fleet", params=params), ""
            except Unreachable as error:
                # What was seen last stays, with its age.
                trouble = str(error)


def _page(rows: Sequence[FleetRow], line: str) -> "RenderableType":
    from rich.console import Group  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    for column in COLUMNS:
        table.add_column(column, overflow="ellipsis", no_wrap=True)
    for row in rows:
        style = "dim" if row.stale else "red" if row.unwell else ""
        table.add_row(*(Text(plain(cell)) for cell in row.cells), style=style)
    return Group(Text(plain(line), style="bold"), table)
