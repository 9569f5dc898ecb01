"""Commands about the record of calls."""

from typing import Annotated

import typer

from control_plane.cli.call_page import print_call
from control_plane.cli.rest import DATA, Data, Json, Token, Url, ask, find_target, segment
from control_plane.cli.show import milliseconds, moment, print_json, print_table

app = typer.Typer(help="The record of calls.", no_args_is_help=True)


@app.command("list")
def list_calls(
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only this tenant's.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="The newest this many.")] = 50,
    before: Annotated[str | None, typer.Option("--before", help="Only calls older than this id.")] = None,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """The newest calls first."""
    params: dict[str, str | int] = {"limit": limit}
    params |= {} if tenant is None else {"tenant": tenant}
    params |= {} if before is None else {"before": before}
    found = ask(find_target(url, token, data), "GET", "/calls", params=params)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            each["id"],
            moment(each["started_unix_ms"]),
            each["tenant_name"],
            each["model"],
            each["outcome"],
            each["tier"],
            each["agent_name"],
            f"{each['prompt_tokens']} + {each['completion_tokens']}",
            milliseconds(each["duration_ms"]),
        )
        for each in found
    ]
    columns = ("ID", "STARTED", "TENANT", "MODEL", "OUTCOME", "TIER", "AGENT", "TOKENS", "DURATION")
    print_table(columns, rows, empty="no calls")


@app.command()
def explain(
    call_id: Annotated[
        str,
        typer.Argument(help="A call's id, as `daalu calls list` and the answer's x-daalu-call-id show it."),
    ],
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Why a call went where it did, and what came of it."""
    call = ask(find_target(url, token, data), "GET", f"/calls/{segment(call_id)}")
    if as_json:
        print_json(call)
    else:
        print_call(call)
