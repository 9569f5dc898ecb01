"""The owner's line on a clean Debian with systemd: installs, enrols, is connected, and leaves nothing behind."""

from collections.abc import Callable

import pytest

from tests.installer.conftest import Site
from tests.support.debian import DebianMachine

pytestmark = pytest.mark.debian

NewMachine = Callable[..., DebianMachine]


def test_one_line_makes_a_connected_agent_and_uninstalling_leaves_nothing(
    site: Site, machine: NewMachine
) -> None:
    host = machine()
    before = host.files()
    said = host.shell(site.line()).stdout
    print(said)
    agent = site.control.agent(host.host.name)
    assert (agent["liveness"], agent["simulated"]) == ("live", True)
    status = host.run(["daalu-agent", "status"]).stdout
    assert "the control plane was here" in status
    host.run(["/opt/daalu-agent/uninstall.sh"])
    assert host.files() == before
    assert site.control.agent(agent["id"])["liveness"] == "revoked"
