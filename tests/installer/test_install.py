"""The owner's line on a clean Debian with systemd: installs, enrols, connects; and leaves nothing behind."""

import os
import signal

import pytest

from tests.installer.conftest import OPTIONS, PYTHONS, Machines, Site
from tests.support.debian import DebianMachine
from tests.support.networks import Customer

pytestmark = pytest.mark.debian

# Each is a line of the installer's own; the run is killed as soon as it is out, the next one at the next.
KILLED_AT = (
    "== checking this host",
    "== fetching release",
    "from the distribution: openssl",
    "from the distribution: python3",
    "== user, directories",
    "== agent environment",
    "== enrolling",
    "== starting",
)


@pytest.mark.parametrize("version", PYTHONS)
def test_one_line_makes_a_connected_agent_and_uninstalling_leaves_nothing(
    site: Site, machines: Machines, version: str
) -> None:
    host = machines.new(version=version)
    before = host.files()
    host.shell(site.line())
    agent = site.control.agent(host.host.name)
    assert (agent["liveness"], agent["simulated"]) == ("live", True)
    assert "the control plane was here" in host.run(["daalu-agent", "status"]).stdout
    _check_the_unit(host)

    host.run(["/opt/daalu-agent/uninstall.sh"])
    assert host.files() == before
    assert host.processes_of("UNKNOWN") == []
    assert host.shell("ip link; nft list ruleset", check=False).stdout.count("daalu") == 0
    assert site.control.agent(agent["id"])["liveness"] == "revoked"


def _check_the_unit(host: DebianMachine) -> None:
    """As systemd sees it, where the programs that it names are there."""
    assert host.run(["systemd-analyze", "verify", "daalu-agent.service"]).stdout == ""
    shown = host.run(
        [
            "systemctl",
            "show",
            "daalu-agent",
            "-p",
            "User,NoNewPrivileges,ProtectSystem,KillMode,Result,NRestarts",
        ]
    ).stdout
    assert set(shown.split()) == {
        "User=daalu-agent",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "KillMode=process",
        "Result=success",
        "NRestarts=0",
    }
    # Not even the daemon's own user may write where programs are, nor others read its keys.
    pid = host.run(["systemctl", "show", "daalu-agent", "-p", "MainPID", "--value"]).stdout.strip()
    status = host.run(["cat", f"/proc/{pid}/status"]).stdout.split("\n")
    assert "CapEff:\t0000000000001000" in status, "CAP_NET_ADMIN and nothing else"
    assert host.run(["stat", "-c", "%a %U", "/var/lib/daalu-agent"]).stdout == "700 daalu-agent\n"


def test_killed_at_every_step_it_ends_well_with_one_identity_and_so_does_uninstalling(
    site: Site, machines: Machines
) -> None:
    host = machines.new()
    before = host.files()
    line = site.line()
    agents = len(site.control.rest("GET", "/agents?revoked=true"))
    for words in KILLED_AT:
        _kill_at(host, line, words)
    said = host.shell(line).stdout
    assert "done." in said
    assert site.control.agent(host.host.name)["liveness"] == "live"
    assert len(site.control.rest("GET", "/agents?revoked=true")) == agents + 1

    for words in ("is revoked at", "removing the system packages"):
        _kill_at(host, "/opt/daalu-agent/uninstall.sh", words)
    host.shell("sh /opt/daalu-agent/uninstall.sh")
    assert host.files() == before


def _kill_at(host: DebianMachine, line: str, words: str) -> None:
    """SIGKILL for the whole process group once `words` are out."""
    process = host.popen(["sh", "-c", line])
    assert process.stdout is not None
    said = ""
    try:
        for each in process.stdout:
            said += each
            if words in each:
                break
        else:
            pytest.fail(f"{words!r} was never said:\n{said}")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
        process.stdout.close()


@pytest.fixture(scope="module")
def customer(site: Site) -> Customer:
    return site.network.customer("mended")


@pytest.fixture(scope="module")
def host(customer: Customer, machines: Machines) -> DebianMachine:
    """The tests that follow tell one machine's story, in order."""
    return machines.at(customer)


def test_a_blocked_udp_port_is_named_and_once_it_is_open_the_next_run_connects(
    site: Site, customer: Customer, host: DebianMachine
) -> None:
    assert customer.nat is not None
    gateway = customer.nat.inner.a
    gateway.run(["nft", "-f", "-"], stdin=_BLOCKED)
    result = host.shell(site.line(f"{OPTIONS} --wait 3"), check=False)
    assert result.returncode == 1
    assert "no answer from the hub at 203.0.113.2:51820" in result.stdout
    assert "outbound UDP" in result.stdout
    agent = site.control.agent("mended")
    assert agent["liveness"] == "never"
    gateway.run(["nft", "delete", "table", "ip", "blocked"])
    # Its own copy is enough for that, and knows whom to ask.
    host.run(["/opt/daalu-agent/install.sh"])
    assert site.control.agent("mended")["id"] == agent["id"]
    assert site.control.agent("mended")["liveness"] == "live"


_BLOCKED = """
table ip blocked {
  chain forward { type filter hook forward priority -1; policy accept; udp dport 51820 drop; }
}
"""


def test_run_again_it_mends_what_was_broken_and_the_identity_stays(site: Site, host: DebianMachine) -> None:
    agent = site.control.agent("mended")
    host.shell("cd /opt/daalu-agent/current && rm -r lib/python3*/site-packages/grpc .complete")
    host.shell("rm /etc/systemd/system/daalu-agent.service /usr/local/bin/daalu-agent")
    host.shell("systemctl daemon-reload")
    said = host.shell(site.line()).stdout
    assert "enrolled already" in said
    after = site.control.agent("mended")
    assert (after["id"], after["liveness"]) == (agent["id"], "live")


def test_a_control_plane_that_cannot_be_told_is_named_and_models_stay(
    site: Site, customer: Customer, host: DebianMachine
) -> None:
    host.write("/var/lib/daalu-agent/models/some/weights", "...")
    host.shell("chown -R daalu-agent: /var/lib/daalu-agent/models")
    assert customer.nat is not None
    customer.nat.inner.cut()
    result = host.shell("/opt/daalu-agent/uninstall.sh", check=False)
    customer.nat.inner.restore()
    assert result.returncode == 3
    assert f"daalu agents revoke {site.control.agent('mended')['id']}" in result.stdout
    left = host.run(["find", "/var/lib/daalu-agent", "-type", "f", "-printf", "%u %p\\n"]).stdout
    assert left == "root /var/lib/daalu-agent/models/some/weights\n"
    again = host.run(["sh"], input=(site.release / "uninstall.sh").read_text())
    assert again.stdout == "nothing of daalu-agent is on this host\n"
