"""The daemon as its owner runs it: adopted after kill -9, left or taken down on request, small."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from agent.identity import State
from agent.tunnel.rules import table_name
from tests.support.agent_state import AGENT_ADDRESS, enrolled, identity, tunnel_settings
from tests.support.hub_end import PORT, HubEnd, wait_until
from tests.support.netlab import Host, Lab

RESIDENT_LIMIT_KIB = 80 * 1024


@dataclass
class Site:
    host: Host
    state: State
    interface: str

    def command(self, *arguments: str) -> list[str]:
        settings = ["--state", str(self.state.directory), "--interface", self.interface]
        return [sys.executable, "-m", "agent", *arguments, *settings, "--simulated-card", "Test Card"]

    def start(self, *arguments: str) -> "subprocess.Popen[Any]":
        """Returns once the daemon answers."""
        process = self.host.popen(self.command("run", *arguments))
        wait_until(lambda: f"process {process.pid}" in self.status() or process.poll() is not None)
        assert process.poll() is None
        return process

    def status(self) -> str:
        return self.host.run(self.command("status")).stdout

    def wireguard_process(self) -> int | None:
        recorded = json.loads((self.state.directory / "tunnel.json").read_text())["process"]
        return recorded and int(recorded["pid"])

    def left_behind(self) -> list[str]:
        links = self.host.run(["ip", "-o", "link"]).stdout
        tables = self.host.run(["nft", "list", "tables"]).stdout
        sockets = [Path(f"/var/run/wireguard/{self.interface}.sock"), self.state.directory / "agent.sock"]
        return (
            [self.interface] * (self.interface in links)
            + tables.split()
            + [str(path) for path in sockets if path.exists()]
            + [str(pid) for pid in self.host.pids()]
        )


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Lab() as lab:
        agent_host, hub_host = lab.host("agent"), lab.host("hub")
        _, hub_outside = lab.connect(agent_host, hub_host)
        hub = HubEnd.start(lab, hub_host, tmp_path)
        settings = tunnel_settings(hub_public_key=hub.key.public, hub_endpoint=f"{hub_outside}:{PORT}")
        state = enrolled(tmp_path / "state", settings)
        key = state.wireguard_key()
        assert key is not None
        hub.admit(key.public, AGENT_ADDRESS)
        yield Site(agent_host, state, lab.interface_name("agt"))


@pytest.mark.root
def test_a_killed_daemon_leaves_the_tunnel_and_the_next_one_adopts_it(site: Site) -> None:
    first = site.start()
    before = site.wireguard_process()
    link = site.host.run(["ip", "-o", "link", "show", "dev", site.interface]).stdout
    first.kill()
    first.wait(10)
    assert "not running" in site.status()
    assert f"tunnel:        {site.interface} " in site.status()
    assert site.host.run(["ip", "-o", "link", "show", "dev", site.interface]).stdout == link
    site.start()
    assert site.wireguard_process() == before
    assert site.host.run(["ip", "-o", "link", "show", "dev", site.interface]).stdout == link


@pytest.mark.root
def test_a_stopped_daemon_leaves_the_tunnel_up_and_down_takes_it_away(site: Site) -> None:
    first = site.start()
    first.terminate()
    assert first.wait(20) == 0
    assert site.interface in site.left_behind()
    assert table_name(site.interface) in site.left_behind()
    assert "are down" in site.host.run(site.command("down")).stdout
    assert site.left_behind() == []


@pytest.mark.root
def test_down_ends_a_running_daemon_and_leaves_nothing(site: Site) -> None:
    daemon = site.start()
    assert "the daemon took engine and tunnel down" in site.host.run(site.command("down")).stdout
    assert daemon.wait(20) == 0
    assert site.left_behind() == []
    assert "are down" in site.host.run(site.command("down")).stdout


@pytest.mark.root
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_ephemeral_daemon_leaves_nothing(site: Site, number: signal.Signals) -> None:
    daemon = site.start("--ephemeral")
    daemon.send_signal(number)
    assert daemon.wait(20) == 0
    assert site.left_behind() == []


@pytest.mark.root
def test_status_says_in_words_how_things_are(site: Site) -> None:
    site.start()
    wait_until(lambda: "handshake" in site.status() and "no handshake yet" not in site.status())
    words = site.status()
    for part in (
        "host-1 (agt-0123) of tenant acme",
        "https://control.example:8443",
        f"on {AGENT_ADDRESS}",
        "good for 6 days",
        f"{site.interface} up (",
        "Test Card",
        "imulated",
        "stopped, no model wanted",
        "none since the daemon started",
    ):
        assert part in words


@pytest.mark.root
def test_a_second_daemon_is_refused_in_one_line(site: Site) -> None:
    first = site.start()
    refused = site.host.run(site.command("run"), check=False)
    assert refused.returncode == 1
    assert f"in use by another daalu-agent (process {first.pid})" in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.root
def test_the_daemon_stays_small(site: Site) -> None:
    daemon = site.start()
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    assert int(resident.split()[1]) < RESIDENT_LIMIT_KIB


def test_direct_mode_is_labelled_wherever_it_shows(tmp_path: Path) -> None:
    ports = [_free_port(), _free_port()]
    me = replace(identity(None), rpc_port=ports[0], engine_port=ports[1])
    state = enrolled(tmp_path / "state", None, me)
    command = [sys.executable, "-m", "agent", "{}", "--state", str(state.directory)]
    command += ["--simulated-card", "Test Card"]
    log = tmp_path / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen([part.format("run") for part in command], stderr=output) as daemon,
    ):
        try:
            wait_until(lambda: "NO TUNNEL" in _run([part.format("status") for part in command]))
            wait_until(lambda: f"process {daemon.pid}" in _run([part.format("status") for part in command]))
        finally:
            daemon.terminate()
        assert daemon.wait(20) == 0
    assert "NO TUNNEL" in log.read_text()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _run(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.mark.root
def test_the_doctor_sees_the_tunnel_and_a_path_that_is_too_narrow_for_it(site: Site) -> None:
    def doctor() -> str:
        return site.host.run(site.command("doctor")).stdout

    daemon = site.start()
    wait_until(lambda: "handshake" in site.status() and "no handshake" not in site.status())
    page = doctor()
    assert f"pass  tunnel: {site.interface} up" in page
    assert "pass  path MTU: packets of 1500 bytes pass" in page
    (outside,) = [
        link["ifname"]
        for link in json.loads(site.host.run(["ip", "-j", "link", "show", "type", "veth"]).stdout)
    ]
    site.host.run(["ip", "link", "set", "dev", outside, "mtu", "1300"])
    assert "WARN  path MTU: packets of 1300 bytes pass" in doctor()
    site.host.run(site.command("down"))
    daemon.wait(30)
    assert "FAIL  tunnel: " in site.host.run(site.command("doctor"), check=False).stdout
