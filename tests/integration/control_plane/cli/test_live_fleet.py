"""`daalu top`, `daalu agents watch` and `daalu agents upgrade` with an agent that reports."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from control_plane.cli.fleet_page import COLUMNS
from tests.support.control_plane import INTERRUPTIBLE_DAALU, ControlPlane, initialised, serving
from tests.support.direct_agent import enrolled, wait_until_live

SHOWN_TIMEOUT_S = 60


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    directory = tmp_path_factory.mktemp("plane")
    plane = initialised(directory / "data", "--allow-direct")
    with serving(plane):
        enrolled(plane, directory / "silent", tenant="other", name="silent")
        with enrolled(plane, directory / "host", tenant="lender", name="alpha").running():
            wait_until_live(plane, "alpha")
            yield plane


def test_top_shows_every_card_with_its_readings_once(plane: ControlPlane) -> None:
    result = plane.daalu("top", "--once")
    assert result.returncode == 0, result.stderr
    head, alpha, silent = result.stdout.splitlines()
    assert re.split(r" +", head.strip()) == [*COLUMNS]
    assert re.match(r"alpha \(simulated\) +lender +live +\d+ s ago ", alpha)
    assert re.search(r"\d °C +\d+ % +[\d.]+ GiB", alpha)
    assert re.match(r"silent +other +never +never .* not known", silent)
    # No terminal: it looks once and ends.
    assert plane.daalu("top", "--only", "silent").stdout.splitlines()[1].startswith("silent ")
    hottest = plane.daalu("top", "--sort", "temperature").stdout.splitlines()
    assert [line.split()[0] for line in hottest[1:]] == ["alpha", "silent"]


def test_top_as_json_is_of_one_tenant_or_of_all(plane: ControlPlane) -> None:
    everything = json.loads(plane.daalu("top", "--json").stdout)
    assert {agent["name"]: len(agent["cards"]) for agent in everything} == {"alpha": 1, "silent": 0}
    (alpha,) = json.loads(plane.daalu("top", "--json", "--tenant", "lender").stdout)
    reading = alpha["cards"][0]["readings"]["temperature_celsius"]
    assert (reading["state"], reading["unit"]) == ("ok", "celsius")
    result = plane.daalu("top", "--tenant", "nobody")
    assert (result.returncode, result.stderr) == (1, "daalu: there is no tenant 'nobody'\n")


def test_top_on_a_terminal_follows_until_ctrl_c(plane: ControlPlane) -> None:
    ours, theirs = pty.openpty()
    command = [*INTERRUPTIBLE_DAALU, "top", "--every", "0.5"]
    environment = os.environ | {"DAALU_DATA": str(plane.data), "TERM": "xterm", "COLUMNS": "160"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    try:
        seen, end_s = b"", time.monotonic() + SHOWN_TIMEOUT_S
        while seen.count(b"1 of 2 hosts live") < 2:
            ready, _, _ = select.select([ours], [], [], end_s - time.monotonic())
            assert ready, seen
            seen += os.read(ours, 65_536)
        process.send_signal(signal.SIGINT)
        assert process.wait(SHOWN_TIMEOUT_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_watching_ends_when_what_is_waited_for_is_so(plane: ControlPlane) -> None:
    result = plane.daalu("agents", "watch", "alpha", "--until", "live")
    assert result.returncode == 0, result.stderr
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC  live; cards good.*\n", result.stdout)
    (line,) = plane.daalu("agents", "watch", "alpha", "--until", "live", "--json").stdout.splitlines()
    assert (json.loads(line)["name"], json.loads(line)["liveness"]) == ("alpha", "live")


def test_watching_tells_a_change_and_gives_up_in_time(plane: ControlPlane) -> None:
    command = [*INTERRUPTIBLE_DAALU, "agents", "watch", "alpha"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"DAALU_DATA": str(plane.data)}
    )
    assert process.stdout is not None
    try:
        assert "drained" not in process.stdout.readline()
        plane.daalu("agents", "drain", "alpha")
        assert "; drained" in process.stdout.readline()
        plane.daalu("agents", "resume", "alpha")
        assert "drained" not in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(SHOWN_TIMEOUT_S) == 130
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    result = plane.daalu("agents", "watch", "silent", "--until", "ready", "--timeout", "0")
    assert (result.returncode, result.stderr) == (1, "daalu: silent was not ready within 0 s\n")


def test_without_a_release_no_upgrade_is_offered(plane: ControlPlane) -> None:
    result = plane.daalu("agents", "upgrade", "alpha")
    assert result.returncode == 1
    assert result.stderr == "daalu: the control plane serves no release: daalu serve --artifacts DIRECTORY\n"
