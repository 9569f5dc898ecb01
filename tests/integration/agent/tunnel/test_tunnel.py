"""The agent's end of a real tunnel: traffic, rules, adoption, repair, and nothing left behind."""

import asyncio
import os
import socket
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.identity import State
from agent.process import ProcessMark
from agent.tunnel import LinkStatus, Tunnel, TunnelError
from agent.tunnel.rules import table_name
from tests.support.agent_state import AGENT_ADDRESS, HUB_ADDRESS, enrolled, tunnel_settings
from tests.support.hub_end import PORT, HubEnd, wait_until
from tests.support.netlab import Host, Lab

pytestmark = pytest.mark.root


@dataclass
class Site:
    lab: Lab
    host: Host
    hub: HubEnd
    state: State
    interface: str
    # The agent host's address on the plain network, and the hub's.
    agent_outside: str
    hub_outside: str

    def tunnel(self) -> Tunnel:
        identity = self.state.identity()
        assert identity is not None
        return Tunnel(self.interface, identity, self.state)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """In the agent's host: what the tunnel starts is started there."""
        with self.host.entered():
            asyncio.run(work)

    def up(self) -> LinkStatus:
        tunnel, found = self.tunnel(), []

        async def work() -> None:
            await tunnel.up()
            found.append(await tunnel.status())

        self.run(work())
        return found[0]

    def left_behind(self) -> list[str]:
        left = [Path(f"/var/run/wireguard/{self.interface}.sock"), self.state.directory / "tunnel.json"]
        found = [str(path) for path in left if path.exists()]
        links = self.host.run(["ip", "-o", "link"]).stdout
        tables = self.host.run(["nft", "list", "tables"]).stdout
        processes = [str(pid) for pid in self.host.pids()]
        return found + [self.interface] * (self.interface in links) + tables.split() + processes


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Lab() as lab:
        agent_host, hub_host = lab.host("agent"), lab.host("hub")
        agent_outside, hub_outside = lab.connect(agent_host, hub_host)
        hub = HubEnd.start(lab, hub_host, tmp_path)
        settings = tunnel_settings(hub_public_key=hub.key.public, hub_endpoint=f"{hub_outside}:{PORT}")
        state = enrolled(tmp_path / "state", settings)
        key = state.wireguard_key()
        assert key is not None
        hub.admit(key.public, AGENT_ADDRESS)
        yield Site(lab, agent_host, hub, state, lab.interface_name("agt"), agent_outside, hub_outside)


def _connects(host: Host, address: str, port: int, source: str | None = None, timeout_s: float = 1.0) -> bool:
    with host.entered():
        try:
            socket.create_connection(
                (address, port), timeout_s, source_address=(source, 0) if source else None
            ).close()
        except TimeoutError:
            return False
    return True


def _listen(host: Host, address: str, port: int) -> socket.socket:
    with host.entered():
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return socket.create_server((address, port), family=family)


def test_the_hub_reaches_the_two_ports_and_nothing_else_does(site: Site) -> None:
    site.up()
    with (
        _listen(site.host, "::", 7443),
        _listen(site.host, AGENT_ADDRESS, 7400),
        _listen(site.host, "::", 22),
    ):
        wait_until(lambda: _connects(site.hub.host, AGENT_ADDRESS, 7443))
        assert _connects(site.hub.host, AGENT_ADDRESS, 7400)
        assert not _connects(site.hub.host, AGENT_ADDRESS, 22), "a port that is not the agent's"
    details = site.host.run(["ip", "-o", "address", "show", "dev", site.interface]).stdout
    assert f"{AGENT_ADDRESS}/128" in details
    assert "mtu 1280" in site.host.run(["ip", "link", "show", "dev", site.interface]).stdout
    wg = site.host.run(["wg", "show", site.interface]).stdout
    assert f"allowed ips: {HUB_ADDRESS}/128\n" in wg
    assert "persistent keepalive: every 25 seconds" in wg


def test_another_address_of_the_tunnels_network_is_dropped_even_if_wireguard_lets_it_in(site: Site) -> None:
    site.up()
    other = site.hub.other_address
    hub_key = site.hub.key.public
    site.host.run(
        ["wg", "set", site.interface, "peer", hub_key, "allowed-ips", f"{HUB_ADDRESS}/128,{other}/128"]
    )
    site.host.run(["ip", "route", "replace", f"{other}/128", "dev", site.interface])
    with _listen(site.host, AGENT_ADDRESS, 7400):
        wait_until(lambda: _connects(site.hub.host, AGENT_ADDRESS, 7400))
        assert not _connects(site.hub.host, AGENT_ADDRESS, 7400, source=other)
        site.host.run(["nft", "delete", "table", "inet", table_name(site.interface)])
        assert _connects(site.hub.host, AGENT_ADDRESS, 7400, source=other), "only the rules stood in its way"


def test_the_host_answers_the_hub_and_reaches_it(site: Site) -> None:
    site.up()
    with _listen(site.hub.host, HUB_ADDRESS, 9000):
        wait_until(lambda: _connects(site.host, HUB_ADDRESS, 9000))


def test_a_host_beside_the_tunnel_can_neither_use_the_agents_address_nor_pose_as_the_hub(site: Site) -> None:
    site.up()
    beside = site.lab.host("beside")
    link = site.lab.connect(site.host, beside, "fd99:1::/64")
    for address in (HUB_ADDRESS, "fd99:1::77"):
        beside.run(["ip", "address", "add", f"{address}/128", "dev", link.b_interface, "nodad"])
    beside.run(["ip", "route", "replace", f"{AGENT_ADDRESS}/128", "via", link.a_address])
    site.host.run(["ip", "route", "replace", "fd99:1::77/128", "via", link.b_address])
    with _listen(site.host, "::", 7400):
        assert _connects(beside, link.a_address, 7400), "the plain address is not the tunnel's business"
        assert not _connects(beside, AGENT_ADDRESS, 7400)
        assert not _connects(beside, AGENT_ADDRESS, 7400, source="fd99:1::77")
        # Answers to the hub's address go into the tunnel: only a sniffer would see a spoofed packet arrive.
        with site.host.entered():
            heard = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        with heard:
            heard.bind((link.a_address, 7444))
            heard.settimeout(0.5)
            _datagram(beside, (link.a_address, 7444), None)
            assert heard.recv(10) == b"spoof"
            _datagram(beside, (link.a_address, 7444), HUB_ADDRESS)
            with pytest.raises(TimeoutError):
                heard.recv(10)
    site.host.run(["ip", "link", "delete", "dev", site.interface])
    site.host.run(["ip", "route", "replace", f"{HUB_ADDRESS}/128", "via", link.b_address])
    with _listen(beside, "::", 9000):
        assert not _connects(site.host, HUB_ADDRESS, 9000), "with the tunnel down nothing leaks beside it"


def _datagram(host: Host, to: tuple[str, int], source: str | None) -> None:
    with host.entered(), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        if source:
            sender.bind((source, 0))
        sender.sendto(b"spoof", to)


def test_nothing_is_forwarded_into_or_out_of_the_tunnel(site: Site) -> None:
    site.up()
    beside = site.lab.host("beside")
    link = site.lab.connect(site.host, beside, "fd99:1::/64")
    site.lab.forward(site.host)
    beside.run(["ip", "route", "replace", f"{HUB_ADDRESS}/128", "via", link.a_address])
    site.hub.admit(_public_key(site), AGENT_ADDRESS)
    allowed = f"{AGENT_ADDRESS}/128,fd99:1::/64"
    site.hub.host.run(["wg", "set", site.hub.interface, "peer", _public_key(site), "allowed-ips", allowed])
    site.hub.host.run(["ip", "route", "replace", "fd99:1::/64", "dev", site.hub.interface])
    with _listen(site.hub.host, HUB_ADDRESS, 9000), _listen(beside, "::", 9001):
        wait_until(lambda: _connects(site.host, HUB_ADDRESS, 9000))
        assert not _connects(beside, HUB_ADDRESS, 9000)
        assert not _connects(site.hub.host, link.b_address, 9001)
        site.host.run(["nft", "delete", "table", "inet", table_name(site.interface)])
        assert _connects(beside, HUB_ADDRESS, 9000), "only the rules stood in its way"


def _public_key(site: Site) -> str:
    key = site.state.wireguard_key()
    assert key is not None
    return key.public


def test_a_second_tunnel_object_adopts_and_changes_nothing(site: Site) -> None:
    first = site.up()
    before = site.host.run(["wg", "show", site.interface, "dump"]).stdout
    second = site.up()
    assert first.process_id == second.process_id
    assert site.host.run(["wg", "show", site.interface, "listen-port"]).stdout in before.replace("\t", "\n")


def test_a_killed_wireguard_go_is_replaced_and_traffic_flows_again(site: Site) -> None:
    first = site.up()
    tunnel = site.tunnel()

    async def work() -> None:
        await tunnel.up()
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(tunnel.run())
            if first.process_id is None:  # the kernel's own interface: there is no process to kill
                site.host.run(["ip", "link", "delete", "dev", site.interface])
            else:
                os.kill(first.process_id, 9)
            await asyncio.to_thread(wait_until, lambda: _index(site) not in (None, index))
            watching.cancel()

    index = _index(site)
    site.run(work())
    with _listen(site.host, AGENT_ADDRESS, 7400):
        wait_until(lambda: _connects(site.hub.host, AGENT_ADDRESS, 7400))


def _index(site: Site) -> str | None:
    """Of the interface, once its address is there; another number means another interface."""
    listing = site.host.run(["ip", "-o", "address", "show", "dev", site.interface], check=False).stdout
    return listing.split(":")[0] if AGENT_ADDRESS in listing else None


def test_rules_and_addresses_that_somebody_removed_come_back(site: Site) -> None:
    site.up()
    site.host.run(["nft", "flush", "table", "inet", table_name(site.interface)])
    site.host.run(["ip", "address", "flush", "dev", site.interface])
    site.host.run(["wg", "set", site.interface, "peer", site.hub.key.public, "allowed-ips", "::/0"])
    site.up()
    with _listen(site.host, "::", 7400), _listen(site.host, "::", 22):
        wait_until(lambda: _connects(site.hub.host, AGENT_ADDRESS, 7400))
        assert not _connects(site.hub.host, AGENT_ADDRESS, 22)
    assert "::/0" not in site.host.run(["wg", "show", site.interface]).stdout


def test_down_leaves_nothing(site: Site) -> None:
    site.up()
    assert site.left_behind()
    site.run(site.tunnel().down())
    assert site.left_behind() == []
    site.run(site.tunnel().down())


def test_down_after_a_crash_and_without_a_record_leaves_nothing(site: Site) -> None:
    status = site.up()
    (site.state.directory / "tunnel.json").unlink()
    site.run(site.tunnel().down())
    assert site.left_behind() == []
    status = site.up()
    mark = ProcessMark.of(status.process_id) if status.process_id else None
    if mark:
        os.kill(mark.pid, 9)
        wait_until(lambda: not mark.alive())
    site.run(site.tunnel().down())
    assert site.left_behind() == []


def test_an_interface_of_somebody_else_is_neither_taken_nor_removed(site: Site, tmp_path: Path) -> None:
    site.up()
    other = enrolled(tmp_path / "other", tunnel_settings())
    stranger = Site(
        site.lab, site.host, site.hub, other, site.interface, site.agent_outside, site.hub_outside
    )
    with pytest.raises(TunnelError, match="belongs to somebody else"):
        stranger.up()
    before = site.host.run(["wg", "show", site.interface, "public-key"]).stdout
    stranger.run(stranger.tunnel().down())
    assert site.host.run(["wg", "show", site.interface, "public-key"]).stdout == before


def test_an_interface_of_another_kind_is_told_by_name(site: Site) -> None:
    site.host.run(["ip", "link", "add", "dev", site.interface, "type", "veth"])
    with pytest.raises(TunnelError, match="is no WireGuard but veth"):
        site.up()


def test_the_private_key_stays_out_of_command_lines_and_logs(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    key = site.state.wireguard_key()
    assert key is not None
    with caplog.at_level("DEBUG"):
        status = site.up()
    assert key.private not in caplog.text
    if status.process_id:
        process = Path(f"/proc/{status.process_id}")
        assert key.private.encode() not in (process / "cmdline").read_bytes()
        assert key.private.encode() not in (process / "environ").read_bytes()
        assert os.getsid(status.process_id) == status.process_id
