"""Commands that look an agent's host over."""

import time
from typing import Annotated, Any

import typer

from control_plane.cli.arguments import AgentArgument
from control_plane.cli.confirm import Yes, make_sure
from control_plane.cli.diagnostics_page import print_finding, print_head, print_now, print_run
from control_plane.cli.failure import Failure
from control_plane.cli.rest import DATA, Data, Json, Target, Token, Url, ask, find_target, segment
from control_plane.cli.show import ago, print_json, print_table

LOOK_EVERY_S = 0.3
# A run ends by itself, at the latest when its time is up.
PATIENCE_S = 5_400.0

# As the control plane has it.
FIRST_STRESSFUL = 2

RunArgument = Annotated[str, typer.Argument(help="A run's id, as `daalu diagnostics list` shows it.")]

app = typer.Typer(help="Look an agent's host over, from the driver to the first token.", no_args_is_help=True)


@app.command()
def run(
    agent: AgentArgument,
    level: Annotated[
        int,
        typer.Option(
            "--level", min=0, max=3, help="0: built in. 1 to 3: NVIDIA's, by dcgmi; 2 and 3 stress the cards."
        ),
    ] = 0,
    yes: Yes = False,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Runs every check now and shows each as it ends. Exit code 1 where one failed. Ctrl-C cancels it."""
    target = find_target(url, token, data)
    if level >= FIRST_STRESSFUL:
        make_sure(
            f"Level {level} turns calls away from {agent} and stops its engine until it has ended. Go on?",
            yes=yes,
        )
    wanted = {"level": level, "acknowledge_stress": level >= FIRST_STRESSFUL}
    _follow(target, ask(target, "POST", f"/agents/{segment(agent)}/diagnostics", json=wanted), as_json)


@app.command()
def selftest(
    agent: AgentArgument, url: Url = None, token: Token = None, data: Data = DATA, as_json: Json = False
) -> None:
    """Looks at every stage from the card to the page, a real call too. Exit code 1 where one failed."""
    target = find_target(url, token, data)
    _follow(target, ask(target, "POST", f"/agents/{segment(agent)}/selftest"), as_json)


@app.command()
def levels(
    agent: AgentArgument, url: Url = None, token: Token = None, data: Data = DATA, as_json: Json = False
) -> None:
    """Which levels this agent's host can run now, and why it cannot run the others."""
    found = ask(find_target(url, token, data), "GET", f"/agents/{segment(agent)}/diagnostics/levels")
    if as_json:
        print_json(found)
        return
    rows = [
        (each["level"], "yes" if each["stressful"] else "no", f"{each['limit_s']:.0f} s", each["refusal"])
        for each in found
    ]
    print_table(("LEVEL", "STRESSFUL", "AT MOST", "NOT HERE, BECAUSE"), rows, empty="none")


@app.command()
def cancel(run_id: RunArgument, url: Url = None, token: Token = None, data: Data = DATA) -> None:
    """Ends one that is under way; what it took from the card's service comes back."""
    ask(find_target(url, token, data), "POST", f"/diagnostics/{segment(run_id)}/cancel")
    print(f"cancelled {run_id}")


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
    run_id: RunArgument, url: Url = None, token: Token = None, data: Data = DATA, as_json: Json = False
) -> None:
    """One run with all its evidence."""
    found = ask(find_target(url, token, data), "GET", f"/diagnostics/{segment(run_id)}")
    if as_json:
        print_json(found)
    else:
        print_run(found)


def _follow(target: Target, found: Any, as_json: bool) -> None:
    if not as_json:
        print_head(found)
    path = f"/diagnostics/{segment(found['id'])}"
    shown, at, gives_up_s = 0, None, time.monotonic() + PATIENCE_S
    try:
        while True:
            if not as_json:
                for finding in found["findings"][shown:]:
                    print_finding(finding)
                if found["level"] and found["now"] not in (None, at):
                    print_now(found["now"])
            shown, at = len(found["findings"]), found["now"]
            if found["state"] != "running":
                break
            if time.monotonic() >= gives_up_s:
                raise Failure(f"it has not ended yet: daalu diagnostics show {found['id']}")
            time.sleep(LOOK_EVERY_S)
            found = ask(target, "GET", path)
    except KeyboardInterrupt:
        ask(target, "POST", f"{path}/cancel")
        raise Failure(f"cancelled {found['id']}") from None
    if as_json:
        print_json(found)
    _exit(found)


def _exit(found: dict[str, Any]) -> None:
    if found["state"] == "broken_off":
        raise Failure(f"broken off: {found['error']}")
    if found["verdict"] == "fail":
        raise typer.Exit(1)
