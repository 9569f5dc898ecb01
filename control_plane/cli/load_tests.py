"""Commands that put an own card under load, and show what came of it."""

import sys
import time
from typing import Annotated, Any

import typer

from control_plane.cli.arguments import AgentArgument, TestArgument
from control_plane.cli.failure import Failure
from control_plane.cli.rest import DATA, Data, Json, Token, Url, ask, ask_text, find_target, segment
from control_plane.cli.show import ago, milliseconds, moment, print_json, print_pairs, print_table

LOOK_EVERY_S = 1.0

app = typer.Typer(help="Put an own card under load: its figures, and its knee.", no_args_is_help=True)


@app.command()
def run(
    agent: AgentArgument,
    concurrency: Annotated[
        str, typer.Option("--concurrency", help="Calls at once of each step.")
    ] = "1,2,4,8,16,32",
    input_tokens: Annotated[int, typer.Option("--input-tokens", help="Of each request.")] = 256,
    output_tokens: Annotated[int, typer.Option("--output-tokens", help="Of each answer.")] = 64,
    requests: Annotated[int, typer.Option("--requests", help="Of a step, for each call at once.")] = 4,
    duration_s: Annotated[int, typer.Option("--duration", help="Seconds; then it is broken off.")] = 900,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Runs a sweep now and shows each step as it ends. Ctrl-C cancels it."""
    try:
        steps = [int(step) for step in concurrency.split(",")]
    except ValueError:
        raise Failure(f"--concurrency {concurrency!r}: write numbers with commas, like 1,2,4") from None
    target = find_target(url, token, data)
    wanted = {
        "concurrencies": steps,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "requests_per_call": requests,
        "duration_s": duration_s,
    }
    found = ask(target, "POST", f"/agents/{segment(agent)}/loadtests", json=wanted)
    path, shown = f"/loadtests/{segment(found['id'])}", 0
    try:
        while True:
            for step in found["steps"][shown:] if not as_json else ():
                print(_line(step), flush=True)
            shown = len(found["steps"])
            if found["state"] != "running":
                break
            time.sleep(LOOK_EVERY_S)
            found = ask(target, "GET", path)
    except KeyboardInterrupt:
        ask(target, "POST", f"{path}/cancel")
        raise Failure(f"cancelled: daalu loadtests show {found['id']}") from None
    if as_json:
        print_json(found)
    else:
        print(f"{_knee(found)} ({found['id']})")
    if found["state"] == "broken_off":
        raise Failure(f"broken off: {found['error']}")


@app.command("list")
def list_tests(
    agent: AgentArgument,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100, help="The newest this many.")] = 10,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """An agent's load tests, the newest first."""
    path = f"/agents/{segment(agent)}/loadtests"
    found = ask(find_target(url, token, data), "GET", path, params={"limit": limit})
    if as_json:
        print_json(found)
        return
    rows = [
        (
            each["id"],
            ago(each["started_unix_ms"]),
            each["model_id"],
            each["state"].replace("_", " "),
            each["knee_concurrency"],
            round(max((step["output_tokens_per_s"] for step in each["steps"]), default=0), 1),
            each["error"],
        )
        for each in found
    ]
    columns = ("ID", "STARTED", "MODEL", "STATE", "KNEE", "MOST TOKENS/S", "ERROR")
    print_table(columns, rows, empty="no load tests: daalu loadtests run AGENT")


@app.command()
def show(
    test: TestArgument, url: Url = None, token: Token = None, data: Data = DATA, as_json: Json = False
) -> None:
    """One load test, against the one before it."""
    found = ask(find_target(url, token, data), "GET", f"/loadtests/{segment(test)}")
    if as_json:
        print_json(found)
        return
    print_pairs(
        [
            ("load test", found["id"]),
            ("agent", f"{found['agent_name']} ({found['agent_id']})"),
            ("model", found["model_id"]),
            ("by", found["actor"]),
            ("started", moment(found["started_unix_ms"])),
            ("ended", moment(found["ended_unix_ms"]) if found["ended_unix_ms"] else None),
            ("state", found["state"].replace("_", " ")),
            ("error", found["error"]),
            ("knee", _knee(found)),
            ("compared with", found["earlier_id"]),
        ]
    )
    for step in found["steps"]:
        share = found["against_earlier"].get(str(step["concurrency"]))
        print(_line(step) + (f", {share:.0%} of the earlier one" if share is not None else ""))


@app.command()
def cancel(test: TestArgument, url: Url = None, token: Token = None, data: Data = DATA) -> None:
    """Ends one that is under way; its key is no good from here on."""
    ask(find_target(url, token, data), "POST", f"/loadtests/{segment(test)}/cancel")
    print(f"cancelled {test}")


@app.command("csv")
def as_csv(test: TestArgument, url: Url = None, token: Token = None, data: Data = DATA) -> None:
    """Its steps as CSV, with a line of names."""
    # As it came, its line ends too.
    sys.stdout.buffer.write(
        ask_text(find_target(url, token, data), f"/loadtests/{segment(test)}/csv").encode()
    )


@app.command("clear-limit")
def clear_limit(agent: AgentArgument, url: Url = None, token: Token = None, data: Data = DATA) -> None:
    """The router goes by the engine's own figures again, until the next load test."""
    cleared = ask(find_target(url, token, data), "POST", f"/agents/{segment(agent)}/queue-limit/clear")
    print(f"cleared the knee of {cleared['concurrency']} that {cleared['load_test_id']} measured")


def _line(step: dict[str, Any]) -> str:
    ttft, itl = (
        "/".join(milliseconds(step[f"{measure}_p{each}_ms"]) for each in (50, 90, 99))
        for measure in ("ttft", "itl")
    )
    failed = f", {step['failed']} FAILED" if step["failed"] else ""
    return (
        f"{step['concurrency']:>4} at once: {step['output_tokens_per_s']:.1f} tokens/s,"
        f" {step['requests_per_s']:.2f} requests/s, first token {ttft}, between tokens {itl}{failed}"
    )


def _knee(found: dict[str, Any]) -> str:
    if found["knee_concurrency"] is not None:
        return f"the knee is at {found['knee_concurrency']} at once"
    return "no knee was seen"
