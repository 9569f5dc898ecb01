"""Commands about what an owner allows of pool work on an agent."""

from typing import Annotated, Any

import typer

from control_plane.cli.arguments import AgentArgument
from control_plane.cli.failure import Failure
from control_plane.cli.rest import DATA, Data, Json, Token, Url, ask, find_target, segment
from control_plane.cli.show import print_json, print_pairs

app = typer.Typer(help="What an owner allows of pool work: hours, heat and power.", no_args_is_help=True)


@app.command("show")
def show_limits(
    agent: AgentArgument, url: Url = None, token: Token = None, data: Data = DATA, as_json: Json = False
) -> None:
    """The limits of an agent, and which of them forbids pool work now."""
    _print(ask(find_target(url, token, data), "GET", _path(agent)), as_json=as_json)


@app.command("set")
def set_limits(
    agent: AgentArgument,
    hours: Annotated[
        list[str] | None,
        typer.Option("--hours", help="A window of the week, e.g. 'mon-fri 18:00-08:00'; several: once each."),
    ] = None,
    zone: Annotated[
        str | None, typer.Option("--zone", help="By whose clock the hours are, e.g. Europe/Berlin.")
    ] = None,
    max_celsius: Annotated[
        int | None, typer.Option("--max-celsius", help="The most that a card may have, in °C.")
    ] = None,
    max_watts: Annotated[
        int | None, typer.Option("--max-watts", help="The most that a card may take, in watts.")
    ] = None,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Sets those limits that are given; the others stay. Calls of the owner's own are not limited."""
    given = {"hours": hours or None, "zone": zone, "max_celsius": max_celsius, "max_watts": max_watts}
    wanted = {name: value for name, value in given.items() if value is not None}
    if not wanted:
        raise Failure("say what to limit: --hours with --zone, --max-celsius or --max-watts")
    _print(ask(find_target(url, token, data), "PATCH", _path(agent), json=wanted), as_json=as_json)


@app.command("clear")
def clear_limits(
    agent: AgentArgument,
    hours: Annotated[bool, typer.Option("--hours", help="The hours and their zone alone.")] = False,
    max_celsius: Annotated[bool, typer.Option("--max-celsius", help="The limit of heat alone.")] = False,
    max_watts: Annotated[bool, typer.Option("--max-watts", help="The limit of power alone.")] = False,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Takes limits back; all of them where none is named."""
    target = find_target(url, token, data)
    named = {"hours": hours, "max_celsius": max_celsius, "max_watts": max_watts}
    wanted = {name: None for name, is_named in named.items() if is_named}
    if wanted:
        _print(ask(target, "PATCH", _path(agent), json=wanted), as_json=as_json)
    else:
        _print(ask(target, "DELETE", _path(agent)), as_json=as_json)


def _path(agent: str) -> str:
    return f"/agents/{segment(agent)}/limits"


def _print(limits: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(limits)
        return
    celsius, watts = limits["max_celsius"], limits["max_watts"]
    print_pairs(
        [
            ("hours", "; ".join(limits["hours"]) or "always"),
            ("time zone", limits["zone"]),
            ("most heat", "no limit" if celsius is None else f"{celsius} °C"),
            ("most power", "no limit" if watts is None else f"{watts} W"),
            ("now", limits["words"] or "no limit forbids pool work"),
        ]
    )
