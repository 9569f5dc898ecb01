"""Commands about providers' cards whose engines claimed more tokens than were counted."""

from typing import Annotated

import typer

from control_plane.cli.confirm import Yes, make_sure
from control_plane.cli.rest import DATA, Data, Json, Token, Url, ask, find_target, segment
from control_plane.cli.show import moment, print_json, print_table

app = typer.Typer(help="Providers' cards, and whether their counts hold.", no_args_is_help=True)


@app.command("flags")
def flags(
    everything: Annotated[bool, typer.Option("--all", help="Also those that were cleared.")] = False,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Cards that claimed more tokens than were counted, with the numbers; their held credit stays held."""
    params = {"all": "true"} if everything else {}
    found = ask(find_target(url, token, data), "GET", "/providers/flags", params=params)
    if as_json:
        print_json(found)
        return
    fields = ("agent_name", "tenant_id", "measure", "calls", "claimed_tokens", "counted_tokens")
    rows = [
        [*(each[name] for name in fields), moment(each["since_unix_ms"]), moment(each["cleared_unix_ms"])]
        for each in found
    ]
    columns = ("CARD", "TENANT", "TOKENS", "CALLS", "CLAIMED", "COUNTED", "SINCE", "CLEARED")
    print_table(columns, rows, empty="no card is flagged")


@app.command("clear")
def clear(
    agent: Annotated[str, typer.Argument(help="A flagged agent's name or id.")],
    yes: Yes = False,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Ends an agent's flag, once you know why its counts differed: its credit from paid statements becomes
    payable. Only calls after this are judged again."""
    make_sure(f"Clear the flag of {agent}? Its credit from paid statements becomes payable.", yes=yes)
    found = ask(find_target(url, token, data), "POST", f"/providers/{segment(agent)}/clear")
    if as_json:
        print_json(found)
    else:
        print(f"{found['agent_name']} is not flagged any more")
