"""`daalu doctor`: what is the matter with a control plane, also where it does not answer.

What it needs is imported when it runs: the other commands start faster without it.
"""
# ruff: noqa: PLC0415

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from control_plane.cli.diagnostics_page import print_finding
from control_plane.cli.failure import Failure
from control_plane.cli.rest import DATA, Data, Token, Url, ask, find_target, local_directory
from control_plane.cli.show import print_json
from control_plane.cli.waiting import waiting
from control_plane.config import InvalidSetting, load_settings

if TYPE_CHECKING:
    from control_plane.doctor import Finding

FindingsJson = Annotated[bool, typer.Option("--json", help="Every finding, as JSON.")]


def doctor(url: Url = None, token: Token = None, data: Data = DATA, as_json: FindingsJson = False) -> None:
    """Looks a control plane over, and says what to do. Exit code 1 where something is broken.

    Works also while nothing runs: files, disk, store, certificates, hub, clock and listeners are looked
    at where the data directory is. Hosts and their clocks are asked of the control plane, which may be
    elsewhere.
    """
    from control_plane.doctor import Verdict, worst

    found: list[Finding] = []
    for finding in _findings(url, token, data):
        found.append(finding)
        if not as_json:
            print_finding(asdict(finding))
    verdict = worst(found)
    if as_json:
        print_json({"verdict": verdict, "findings": [asdict(each) for each in found]})
    if verdict is Verdict.FAIL:
        raise typer.Exit(1)


def _findings(url: str | None, token: str | None, data: Path) -> Iterator["Finding"]:
    directory = local_directory(url, data)
    if directory is not None:
        yield from _of_machine(directory)
    yield from _of_hosts(url, token, data)


def _of_machine(directory: Path) -> Iterator["Finding"]:
    from control_plane.doctor import Finding, Verdict, look_around

    try:
        settings = load_settings(directory)
    except InvalidSetting as error:
        yield Finding("settings", "settings", Verdict.FAIL, str(error))
        return
    yield Finding("settings", "settings", Verdict.PASS, f"{settings.directory.config} can be used")
    looks = look_around(settings)
    while True:
        with waiting(f"looking at {directory}"):
            finding = next(looks, None)
        if finding is None:
            return
        yield finding


def _of_hosts(url: str | None, token: str | None, data: Path) -> Iterator["Finding"]:
    from control_plane.doctor import Finding, Verdict, judge_agents, judge_clocks

    try:
        target = find_target(url, token, data)
        agents = ask(target, "GET", "/agents")
    except Failure as failure:
        yield Finding("rest", "control plane", Verdict.FAIL, f"hosts cannot be asked for: {failure}")
        return
    yield Finding("rest", "control plane", Verdict.PASS, f"{target.url} answers")
    yield judge_agents(agents)
    yield judge_clocks(agents)
