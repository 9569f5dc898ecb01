"""Where systemd does not run, as in a container: in the foreground, and it says how."""

import os
import signal

import pytest

from tests.installer.conftest import OPTIONS, Machines, Site
from tests.support.programs import eventually

pytestmark = pytest.mark.debian

STOP_TIMEOUT_S = 60.0


def test_in_a_container_it_runs_in_the_foreground_until_it_is_stopped(site: Site, machines: Machines) -> None:
    host = machines.new(systemd=False)
    before = host.files()
    process = host.popen(["sh", "-c", site.line()])
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if "Ctrl-C ends it" in line:
            break
    assert "daalu-agent run --ephemeral" in said
    agent = site.control.agent(host.host.name)
    assert agent["liveness"] == "live"
    # A second run finds it, and starts no second one.
    assert "it runs already" in host.shell(site.line()).stdout

    os.killpg(process.pid, signal.SIGINT)
    process.wait(STOP_TIMEOUT_S)
    process.stdout.close()
    eventually(
        lambda: not host.processes_of("daalu-agent"), "nothing runs any more", timeout_s=STOP_TIMEOUT_S
    )
    assert "daalu" not in host.shell("ip link; nft list ruleset").stdout

    host.run(["/opt/daalu-agent/uninstall.sh"])
    assert host.files() == before
    assert site.control.agent(agent["id"])["liveness"] == "revoked"


def test_an_image_is_made_without_starting_it(site: Site, machines: Machines) -> None:
    host = machines.new(systemd=False)
    said = host.shell(site.line(f"{OPTIONS} --no-start --name image")).stdout
    assert "daalu-agent run --ephemeral" in said
    assert site.control.agent("image")["liveness"] == "never"
    assert host.processes_of("daalu-agent") == []
