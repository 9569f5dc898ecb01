"""Commands that look an agent's host over."""

import time
from typing import Annotated, Any

import typer

from control_plane.cli.arguments import AgentArgument
from control_plane.cli.diagnostics_page import print_finding, print_head, print_run
from control_plane.cli.failure import Failure
from control_plane.cli.rest import DATA, Data, Json, Token, Url, ask, find_target, segment
from control_plane.cli.show import ago, print_json, print_table

LOOK_EVERY_S = 0.3
# More than a run takes.
PATIENCE_S = 150.0

app = typer.Typer(help="Look an agent's host over, from the driver to the first token.", no_args_is_help=True)


@app.command()
def run(
    agent: AgentArgument, url: Url = None, token: Token = None, data: Data = DATA, as_json: Json = False
) -> None:
    """Runs every check now and shows each as it ends. Exit code 1 where one failed."""
    target = find_target(url, token, data)
    found = ask(target, "POST", f"/agents/{segment(agent)}/diagnostics")
    if not as_json:
        print_head(found)
    shown, gives_up_s = 0, time.monotonic() + PATIENCE_S
    while True:
        if not as_json:
            for finding in found["findings"][shown:]:
                print_finding(finding)
        shown = len(found["findings"])
        if found["state"] != "running":
            break
        if time.monotonic() >= gives_up_s:
            raise Failure(f"it has not ended yet: daalu diagnostics show {found['id']}")
        time.sleep(LOOK_EVERY_S)
        found = ask(target, "GET", f"/diagnostics/{segment(found['id'])}")
    if as_json:
        print_json(found)
    _exit(found)


@app.command("list")
def list_runs(
    agent: AgentArgument,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100, help="The newest this many.")] = 10,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """An agent's runs, the newest first."""
    params = {"limit": limit}
    found = ask(find_target(url, token, data), "GET", f"/agents/{segment(agent)}/diagnostics", params=params)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            each["id"],
            ago(each["started_unix_ms"]),
            each["actor"],
            each["state"].replace("_", " "),
            each["verdict"].replace("_", " "),
            each["error"],
        )
        for each in found
    ]
    columns = ("ID", "STARTED", "BY", "STATE", "WORST", "ERROR")
    print_table(columns, rows, empty="no runs: daalu diagnostics run AGENT")


@app.command()
def show(
    run_id: Annotated[str, typer.Argument(help="A run's id, as `daalu diagnostics list` shows it.")],
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """One run with all its evidence."""
    found = ask(find_target(url, token, data), "GET", f"/diagnostics/{segment(run_id)}")
    if as_json:
        print_json(found)
    else:
        print_run(found)


def _exit(found: dict[str, Any]) -> None:
    if found["state"] == "broken_off":
        raise Failure(f"broken off: {found['error']}")
    if found["verdict"] == "fail":
        raise typer.Exit(1)
