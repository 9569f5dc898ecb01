"""Commands about the catalogue, and what agents serve of it."""

from typing import Annotated

import typer

from control_plane.cli.arguments import AgentArgument
from control_plane.cli.confirm import Yes, make_sure
from control_plane.cli.fit_page import print_fit
from control_plane.cli.rest import DATA, Data, Json, Token, Url, ask, find_target, segment
from control_plane.cli.show import print_json, print_table

app = typer.Typer(help="The catalogue, and what agents serve of it.", no_args_is_help=True)

Agent = Annotated[str, typer.Option("--agent", help="An agent's name or id.")]


@app.command("list")
def list_models(url: Url = None, token: Token = None, data: Data = DATA, as_json: Json = False) -> None:
    """The models that the catalogue has, and what clients ask for them by."""
    found = ask(find_target(url, token, data), "GET", "/models")
    if as_json:
        print_json(found)
        return
    rows = [
        (each["id"], each["served_name"], each["kind"], f"{each['context_tokens']:,}", each["licence"])
        for each in found
    ]
    columns = ("ID", "SERVED AS", "KIND", "CONTEXT TOKENS", "LICENCE")
    print_table(columns, rows, empty="the catalogue is empty")


@app.command()
def fit(
    agent: AgentArgument, url: Url = None, token: Token = None, data: Data = DATA, as_json: Json = False
) -> None:
    """What an agent's cards can serve, and why not the rest, with the arithmetic."""
    found = ask(find_target(url, token, data), "GET", f"/agents/{segment(agent)}/models")
    if as_json:
        print_json(found)
    else:
        print_fit(found)


@app.command()
def deploy(
    model: Annotated[str, typer.Argument(help="A model's id of the catalogue.")],
    agent: Agent,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Wants a model on an agent; the fleet works towards it. Watch with `daalu agents show`."""
    target = find_target(url, token, data)
    shown = ask(target, "POST", f"/agents/{segment(agent)}/deploy", json={"model": model})
    if as_json:
        print_json(shown)
    else:
        print(f"{shown['name']} is to serve {model}; `daalu agents show {shown['id']}` says how far it is")


@app.command()
def stop(
    agent: Agent,
    yes: Yes = False,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Wants no model on an agent."""
    make_sure(f"Stop the model of {agent}? The calls that it serves are cut off.", yes=yes)
    shown = ask(find_target(url, token, data), "POST", f"/agents/{segment(agent)}/stop")
    if as_json:
        print_json(shown)
    else:
        print(f"{shown['name']} is to serve nothing")
