"""The hub's own life: changes at once, crashes healed, nothing left behind."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from control_plane.tunnel import create_hub_key
from control_plane.tunnel.rules import table_name
from control_plane.tunnel.userspace import WireguardGo
from tests.support.netlab import Lab
from tests.support.programs import eventually
from tests.support.tunnel import HUB_PORT, PORT, UP_TIMEOUT_S, HubSite, PeerEnd, join, listening, reaches

pytestmark = pytest.mark.root

REVOKED_WITHIN_S = 2.0


def _join(lab: Lab, site: HubSite, name: str) -> PeerEnd:
    host = lab.host(name)
    hub_address, _ = lab.connect(site.host, host)
    return join(site, host, lab.interface_name("agt"), hub_address)


def _wait_reachable(site: HubSite, end: PeerEnd) -> None:
    eventually(lambda: reaches(site.host, end.address), "the hub reaches the agent", timeout_s=UP_TIMEOUT_S)


def _never_speaks_first(end: PeerEnd) -> None:
    """As an idle agent for up to two minutes: it begins no session. Type 1 is a handshake's first message."""
    end.host.run(["nft", "add table inet test"])
    end.host.run(["nft", "add chain inet test leaving { type filter hook output priority 0; }"])
    end.host.run(["nft", f"add rule inet test leaving udp dport {HUB_PORT} @th,64,8 1 drop"])


def _index(site: HubSite) -> int:
    with site.host.entered():
        return socket.if_nametoindex(site.interface)


def _userspace_pid(site: HubSite) -> int:
    pid = WireguardGo(site.interface).pid()
    assert pid is not None, "nobody answers on the interface's socket"
    return pid


def _remains(site: HubSite) -> list[str]:
    tables = site.host.run(["nft", "list", "tables"]).stdout
    links = site.host.run(["ip", "-brief", "link"]).stdout
    socket_file = Path("/var/run/wireguard") / f"{site.interface}.sock"
    return [
        what
        for what, there in (
            ("rules", table_name(site.interface) in tables),
            ("interface", site.interface in links),
            ("socket", socket_file.exists()),
            ("process", bool(site.host.pids())),
        )
        if there
    ]


@contextmanager
def _last_byte(site: HubSite, end: PeerEnd) -> Iterator[list[float]]:
    """When the hub's side last heard a byte of a connection on which the agent never stops talking."""
    heard: list[float] = []
    stop = threading.Event()

    def talk(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not stop.wait(0.02):
                connection.send(b".")

    def hear(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while connection.recv(64):
                heard.append(time.monotonic())

    with listening(end.host, end.address) as listener:
        with site.host.entered():
            near = socket.create_connection((end.address, PORT), timeout=5)
        far, _ = listener.accept()
    near.settimeout(None)
    threads = [threading.Thread(target=talk, args=(far,)), threading.Thread(target=hear, args=(near,))]
    try:
        for thread in threads:
            thread.start()
        eventually(lambda: heard, "the first byte", timeout_s=5)
        yield heard
    finally:
        stop.set()
        near.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(5)
        near.close()
        far.close()


def test_revocation_stops_traffic_within_two_seconds(lab: Lab, site: HubSite) -> None:
    site.start()
    revoked, other = _join(lab, site, "a"), _join(lab, site, "b")
    with listening(revoked.host, revoked.address), listening(other.host, other.address):
        _wait_reachable(site, revoked)
        _wait_reachable(site, other)
    index = _index(site)
    with _last_byte(site, revoked) as last, _last_byte(site, other) as still:
        site.revoke(revoked.agent_id)
        at = time.monotonic()
        eventually(lambda: len(site.peers()) == 1, "the peer is gone", timeout_s=REVOKED_WITHIN_S)
        # The other agent goes on for longer than the revoked one may.
        eventually(lambda: still[-1] > at + REVOKED_WITHIN_S + 0.5, "the other talks on", timeout_s=10)
        assert last[-1] - at < REVOKED_WITHIN_S
    assert _index(site) == index
    log = site.program.log.read_text()
    assert log.count('message="peer set"') == 2
    assert log.count('message="peer removed"') == 1


def test_an_agent_that_enrols_later_is_let_in_at_once(lab: Lab, site: HubSite) -> None:
    site.start()
    assert site.peers() == []
    agent = _join(lab, site, "a")
    eventually(
        lambda: site.peers() == [site.network.host_prefix(agent.address)], "the peer is set", timeout_s=2
    )


def test_a_killed_wireguard_go_is_replaced_and_traffic_returns(lab: Lab, site: HubSite) -> None:
    site.start()
    agent = _join(lab, site, "a")
    with listening(agent.host, agent.address):
        _wait_reachable(site, agent)
        before = _userspace_pid(site)
        eventually(site.endpoints_file.exists, "the hub has read where the agent is", timeout_s=5)
        _never_speaks_first(agent)
        os.kill(before, signal.SIGKILL)
        _wait_reachable(site, agent)
    assert _userspace_pid(site) != before


def test_what_others_change_on_the_interface_is_set_right(lab: Lab, site: HubSite) -> None:
    site.start()
    agent = _join(lab, site, "a")
    wanted = [site.network.host_prefix(agent.address)]
    eventually(lambda: site.peers() == wanted, "the peer is set", timeout_s=5)
    intruder = "aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789+/aBcDE="
    site.host.run(["wg", "set", site.interface, "peer", intruder, "allowed-ips", wanted[0]])
    eventually(lambda: site.peers() == wanted, "the intruder is gone", timeout_s=10)


def test_a_stopped_hub_leaves_nothing_behind(site: HubSite) -> None:
    site.start()
    assert _remains(site) == ["rules", "interface", "socket", "process"]
    site.program.stop()
    assert _remains(site) == []


def test_a_killed_hub_is_adopted_by_the_next_without_a_gap(lab: Lab, site: HubSite) -> None:
    site.start()
    agent = _join(lab, site, "a")
    with listening(agent.host, agent.address):
        _wait_reachable(site, agent)
    before = (_index(site), _userspace_pid(site))
    with _last_byte(site, agent) as heard:
        site.program.kill()
        site.start()
        at = time.monotonic()
        eventually(lambda: heard[-1] > at, "the connection lives", timeout_s=5)
    assert (_index(site), _userspace_pid(site)) == before
    site.program.stop()
    assert _remains(site) == []


def test_a_restarted_hub_has_its_agents_back_at_once(lab: Lab, site: HubSite) -> None:
    site.start()
    agent = _join(lab, site, "a")
    with listening(agent.host, agent.address):
        _wait_reachable(site, agent)
        eventually(site.endpoints_file.exists, "it is kept where the agent is", timeout_s=5)
        _never_speaks_first(agent)
        site.program.stop()
        site.start()
        _wait_reachable(site, agent)


def test_a_hub_killed_with_its_wireguard_go_starts_again_and_leaves_nothing(site: HubSite) -> None:
    site.start()
    userspace = _userspace_pid(site)
    site.program.kill()
    os.kill(userspace, signal.SIGKILL)
    eventually(lambda: "interface" not in _remains(site), "the interface is gone", timeout_s=5)
    assert "socket" in _remains(site)
    site.start()
    site.program.stop()
    assert _remains(site) == []


def _failure(site: HubSite) -> str:
    site.program.start()
    eventually(lambda: not site.program.running, "the hub gives up", timeout_s=UP_TIMEOUT_S)
    return site.program.tail().splitlines()[-1]


def test_a_port_in_use_is_named(site: HubSite) -> None:
    with site.host.entered():
        holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with holder:
        holder.bind(("0.0.0.0", HUB_PORT))
        assert f"UDP port {HUB_PORT} is in use" in _failure(site)
    assert _remains(site) == []


def test_an_interface_of_somebody_else_is_left_alone(site: HubSite) -> None:
    site.host.run(["ip", "link", "add", site.interface, "type", "veth", "peer", "name", "other"])
    assert "is not WireGuard: choose another hub_interface" in _failure(site)
    assert _remains(site) == ["interface"]


def test_a_name_in_use_in_another_namespace_is_named(lab: Lab, site: HubSite) -> None:
    elsewhere = lab.host("elsewhere")
    elsewhere.popen(["wireguard-go", "-f", site.interface])
    eventually(lambda: WireguardGo(site.interface).pid(), "the other interface", timeout_s=5)
    assert "another network namespace has a WireGuard interface" in _failure(site)
    assert WireguardGo(site.interface).pid()


def test_a_second_hub_of_one_data_directory_is_refused(site: HubSite) -> None:
    site.start()
    first = site.program
    site.program = site.new_program("second.log")
    assert "a hub runs already with this data directory" in _failure(site)
    assert first.running
    assert _remains(site) == ["rules", "interface", "socket", "process"]


def test_another_deployments_interface_is_left_alone(site: HubSite) -> None:
    site.start()
    site.program.kill()
    # The same interface, seen by a hub with another key.
    site.settings.directory.hub_key.unlink()
    create_hub_key(site.settings.directory.hub_key)
    assert "has another WireGuard key" in _failure(site)
    assert _remains(site) == ["rules", "interface", "socket", "process"]


def test_a_missing_database_is_named(site: HubSite) -> None:
    site.settings.directory.database.unlink()
    assert "was `daalu init` run?" in _failure(site)
