"""Commands about cards."""

import typer

from control_plane.cli.rest import DATA, Data, Json, Token, Url, ask, find_target
from control_plane.cli.show import print_json, print_table

app = typer.Typer(help="What cards there are in the world.", no_args_is_help=True)


@app.callback()
def _cards() -> None:
    """Keeps `classes` a command of its own while it is the only one."""


@app.command()
def classes(url: Url = None, token: Token = None, data: Data = DATA, as_json: Json = False) -> None:
    """The card classes that are known; a card of no known class gets one that is marked untested."""
    found = ask(find_target(url, token, data), "GET", "/card-classes")
    if as_json:
        print_json(found)
        return
    rows = [
        (each["id"], each["name"], each["form"].replace("_", "-"), each["compute_capability"])
        for each in found
    ]
    print_table(("ID", "NAME", "FORM", "COMPUTE CAPABILITY"), rows, empty="no card classes")
