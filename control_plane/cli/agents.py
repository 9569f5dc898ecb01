"""Commands about agents."""

import base64
import json
import time
from enum import StrEnum
from typing import Annotated

import typer

from control_plane.cli import limits
from control_plane.cli.agent_page import print_agent
from control_plane.cli.agent_watch import is_reached, watch_line, watched
from control_plane.cli.arguments import AgentArgument
from control_plane.cli.confirm import Yes, make_sure
from control_plane.cli.failure import Failure
from control_plane.cli.history_page import print_history
from control_plane.cli.rest import DATA, Data, Json, Token, Url, ask, find_target, segment
from control_plane.cli.show import ago, moment, print_json, print_table

ReleaseKey = Annotated[
    str | None,
    typer.Option(
        "--release-key",
        envvar="DAALU_RELEASE_KEY",
        help="As the release's makers gave it to you: a line that would run anything else is not printed.",
    ),
]

LOOK_EVERY_S = 1.0
# As the installer left it on the host; it never takes another identity.
UPGRADE_COMMAND = "sudo /opt/daalu-agent/install.sh"

app = typer.Typer(help="GPU hosts and the daemons on them.", no_args_is_help=True)
app.add_typer(limits.app, name="limits")


@app.command()
def invite(
    tenant: Annotated[str, typer.Option("--tenant", help="Whose host it will be, by name or id.")],
    release_key: ReleaseKey = None,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Prints the line that installs an agent, or the bare invite where no release is served.

    Good once, for one hour, for one host.
    """
    made = ask(find_target(url, token, data), "POST", "/agents/invite", json={"tenant": tenant})
    if release_key is not None:
        _check(made, release_key)
    if as_json:
        print_json(made)
        return
    if made["install_line"]:
        typer.echo("to be pasted on the GPU host:", err=True)
    print(made["install_line"] or made["invite"])
    typer.echo(f"good once, until {moment(made['expires_unix_ms'])}", err=True)


def _check(made: dict[str, str], release_key: str) -> None:
    """Raises Failure."""
    # Only here: the other commands start faster without it.
    from control_plane.install import BadRelease, check_line  # noqa: PLC0415

    if not made["install_line"]:
        raise Failure("the control plane serves no release: daalu serve --artifacts DIRECTORY")
    signature = base64.b64decode(made["release_signature"])
    try:
        check_line(made["install_line"], release_key, made["release_manifest"].encode(), signature)
    except BadRelease as error:
        raise Failure(str(error)) from error


@app.command("list")
def list_agents(
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only this tenant's.")] = None,
    revoked: Annotated[bool, typer.Option("--revoked", help="Revoked ones too.")] = False,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Agents with what is known of them now: reachable, well, serving, and what stands in the way."""
    params = {"revoked": str(revoked).lower()} | ({} if tenant is None else {"tenant": tenant})
    found = ask(find_target(url, token, data), "GET", "/agents", params=params)
    if as_json:
        print_json(found)
        return
    rows = []
    for each in found:
        engine = each["engine"]
        rows.append(
            (
                each["name"] + (" (simulated)" if each["simulated"] else ""),
                each["tenant_name"],
                each["liveness"],
                each["agent_version"],
                ago(each["heard_unix_ms"]),
                each["health"],
                each["desired_model_id"],
                engine["phase"] if engine else None,
                "; ".join(each["problems"].values()) or None,
                each["id"],
            )
        )
    columns = (
        "NAME",
        "TENANT",
        "LIVENESS",
        "VERSION",
        "HEARD",
        "CARDS",
        "WANTED MODEL",
        "ENGINE",
        "PROBLEMS",
        "ID",
    )
    print_table(columns, rows, empty="no agents: daalu agents invite --tenant TENANT")


@app.command()
def show(
    agent: AgentArgument, url: Url = None, token: Token = None, data: Data = DATA, as_json: Json = False
) -> None:
    """Everything known of one agent, by its name or id."""
    shown = ask(find_target(url, token, data), "GET", f"/agents/{segment(agent)}")
    if as_json:
        print_json(shown)
    else:
        print_agent(shown)


class Until(StrEnum):
    LIVE = "live"
    READY = "ready"


@app.command()
def watch(
    agent: AgentArgument,
    until: Annotated[
        Until | None,
        typer.Option("--until", help="End once it is heard of, or its model is ready; default: go on."),
    ] = None,
    timeout_s: Annotated[
        float | None,
        typer.Option("--timeout", min=0, help="Give up after so many seconds, with exit code 1."),
    ] = None,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Prints a line whenever an agent's state changes, until --until, --timeout or Ctrl-C.

    With --json each line is a JSON object of its own.
    """
    target, shown = find_target(url, token, data), ""
    end_s = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        found = ask(target, "GET", f"/agents/{segment(agent)}")
        state = watched(found)
        if (line := json.dumps(state) if as_json else watch_line(state)) != shown:
            print(line if as_json else f"{moment(time.time_ns() // 1_000_000)}  {line}", flush=True)
            shown = line
        if until is not None and is_reached(state, ready=until is Until.READY):
            return
        if end_s is not None and time.monotonic() >= end_s:
            raise Failure(f"{state['name']} was not {until or 'revoked'} within {timeout_s:g} s")
        if state["liveness"] == "revoked":
            raise Failure(f"{state['name']} was revoked: nothing of it will change any more")
        time.sleep(LOOK_EVERY_S)


@app.command()
def upgrade(
    agent: AgentArgument, url: Url = None, token: Token = None, data: Data = DATA, as_json: Json = False
) -> None:
    """Compares an agent's version with the release that is served, and prints what upgrades it on its host.

    It is for the owner to run: a host takes what the release key that it pinned has signed, and no order from
    here. The version before stays beside the new one, and comes back if that does not connect.
    """
    target = find_target(url, token, data)
    found = ask(target, "GET", f"/agents/{segment(agent)}")
    release = ask(target, "GET", "/release")
    if release is None:
        raise Failure("the control plane serves no release: daalu serve --artifacts DIRECTORY")
    running, offered = found["agent_version"], release["version"]
    if as_json:
        print_json(
            {
                "agent_id": found["id"],
                "running_version": running,
                "offered_version": offered,
                "command": UPGRADE_COMMAND,
            }
        )
        return
    print(f"{found['name']} runs {running}, and {offered} is offered")
    if running != offered:
        print(f"on its host:  {UPGRADE_COMMAND}")


@app.command()
def history(
    agent: AgentArgument,
    hours: Annotated[
        float, typer.Option("--hours", min=0.01, max=8_760, help="How far back from now, or from --until.")
    ] = 1.0,
    until: Annotated[
        int | None, typer.Option("--until", min=0, help="The end, in Unix seconds; default: now.")
    ] = None,
    points: Annotated[int, typer.Option("--points", min=2, max=2_000, help="At most so many.")] = 72,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """What its cards and engine reported: raw for hours, rolled up for weeks."""
    end_unix_ms = int(time.time() * 1000) if until is None else until * 1000
    begin_unix_ms = max(0, end_unix_ms - int(hours * 3_600_000))
    params = {"from": begin_unix_ms, "to": end_unix_ms, "points": points}
    found = ask(find_target(url, token, data), "GET", f"/agents/{segment(agent)}/telemetry", params=params)
    if as_json:
        print_json(found)
    else:
        print_history(found)


@app.command()
def revoke(
    agent: AgentArgument,
    yes: Yes = False,
    url: Url = None,
    token: Token = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Ends an agent for good: its traffic within 2 s, and its keys for ever."""
    target = find_target(url, token, data)
    known = ask(target, "GET", f"/agents/{segment(agent)}")
    whose = f"{known['name']} ({known['id']}) of {known['tenant_name']}"
    make_sure(f"Revoke {whose}? Its calls are cut off, and it must enrol anew to come back.", yes=yes)
    shown = ask(target, "POST", f"/agents/{segment(known['id'])}/revoke")
    if as_json:
        print_json(shown)
    else:
        print(f"revoked {shown['id']} ({shown['name']})")


@app.command()
def drain(
    agent: AgentArgument, url: Url = None, token: Token = None, data: Data = DATA, as_json: Json = False
) -> None:
    """Takes no new call on an agent, whoever's, until `resume`; calls in flight end."""
    shown = ask(find_target(url, token, data), "POST", f"/agents/{segment(agent)}/drain")
    _say(shown, "takes no new calls; calls in flight end", as_json=as_json)


@app.command()
def resume(
    agent: AgentArgument, url: Url = None, token: Token = None, data: Data = DATA, as_json: Json = False
) -> None:
    """Takes calls again after `drain`."""
    shown = ask(find_target(url, token, data), "POST", f"/agents/{segment(agent)}/resume")
    _say(shown, "takes calls again", as_json=as_json)


@app.command()
def pause_pool(
    agent: AgentArgument, url: Url = None, token: Token = None, data: Data = DATA, as_json: Json = False
) -> None:
    """Takes no new call of a pool on an agent, until `resume-pool`; its owner's own calls go on."""
    shown = ask(find_target(url, token, data), "POST", f"/agents/{segment(agent)}/pause-pool")
    _say(shown, "takes no new calls of pools; its owner's own go on", as_json=as_json)


@app.command()
def resume_pool(
    agent: AgentArgument, url: Url = None, token: Token = None, data: Data = DATA, as_json: Json = False
) -> None:
    """Takes calls of pools again after `pause-pool`."""
    shown = ask(find_target(url, token, data), "POST", f"/agents/{segment(agent)}/resume-pool")
    _say(shown, "takes calls of pools again", as_json=as_json)


def _say(shown: dict[str, str], words: str, *, as_json: bool) -> None:
    if as_json:
        print_json(shown)
    else:
        print(f"{shown['name']} {words}")
