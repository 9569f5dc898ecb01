"""The lab that other tests build on keeps its promises."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.support.namespaces import LabError, remove_leftovers
from tests.support.netlab import Host, Lab

pytestmark = pytest.mark.root
NAMESPACES = Path("/run/netns")


def _listen(address: str) -> socket.socket:
    return socket.create_server((address, 0))


def _reaches(address: tuple[str, int], *, timeout_s: float = 0.5) -> bool:
    try:
        socket.create_connection(address, timeout=timeout_s).close()
    except OSError:
        return False
    return True


def test_connected_hosts_reach_each_other_and_their_sockets_stay_in_their_host() -> None:
    with Lab() as lab:
        a, b = lab.host("a"), lab.host("b")
        a_address, b_address = lab.connect(a, b, "10.77.1.0/24")
        assert (a_address, b_address) == ("10.77.1.1", "10.77.1.2")
        with b.entered():
            server = _listen(b_address)
        with server:
            with a.entered():
                assert _reaches(server.getsockname())
            assert not _reaches(server.getsockname()), "this machine itself must not reach the lab"


def test_a_thread_is_back_home_after_a_failure_inside_a_host() -> None:
    home = Path("/proc/thread-self/ns/net").readlink()
    with Lab() as lab:
        host = lab.host("a")
        with pytest.raises(ZeroDivisionError):
            _fail_inside(host, home)
    assert Path("/proc/thread-self/ns/net").readlink() == home


def _fail_inside(host: Host, home: Path) -> None:
    with host.entered():
        assert Path("/proc/thread-self/ns/net").readlink() != home
        raise ZeroDivisionError


def test_ipv6_links_can_be_bound_at_once() -> None:
    with Lab() as lab:
        a, b = lab.host("a"), lab.host("b")
        _, b_address = lab.connect(a, b, "fd00:77::/64")
        with b.entered():
            server = socket.create_server((b_address, 0), family=socket.AF_INET6)
        with server, a.entered():
            # A first neighbour solicitation may meet a link that is not up yet; the next follows after 1 s.
            assert _reaches(server.getsockname()[:2], timeout_s=5)


def test_behind_a_nat_the_world_is_reachable_and_nothing_comes_in() -> None:
    with Lab() as lab:
        inside, gateway, outside = lab.host("inside"), lab.host("gateway"), lab.host("outside")
        nat = lab.nat(inside, gateway, outside)
        with outside.entered():
            world = _listen(nat.outer.a_address)
        with inside.entered():
            private = _listen(nat.inner.b_address)
        with gateway.entered():
            open_port = _listen(nat.outer.b_address)
        with world, private, open_port:
            with inside.entered():
                client = socket.create_connection(world.getsockname(), timeout=2)
            with client:
                accepted, seen = world.accept()
                accepted.close()
                assert seen[0] == nat.outer.b_address, "the gateway's own address is what the world sees"
            lab.route(outside, nat.outer.b_address, "10.77.1.0/24")
            with outside.entered():
                assert not _reaches(private.getsockname())
                assert not _reaches(open_port.getsockname())


def test_a_cut_link_carries_nothing_until_it_is_restored() -> None:
    with Lab() as lab:
        a, b = lab.host("a"), lab.host("b")
        link = lab.connect(a, b)
        with b.entered():
            server = _listen(link.b_address)
        with server, a.entered():
            assert _reaches(server.getsockname())
            link.cut()
            assert not _reaches(server.getsockname())
            link.restore()
            assert _reaches(server.getsockname())


def test_this_machine_can_be_linked_to_and_keeps_nothing_of_it() -> None:
    with Lab() as lab:
        machine, guest = lab.machine(), lab.host("guest")
        link = lab.connect(machine, guest, "198.18.77.0/30")
        with machine.entered():
            server = _listen(link.a_address)
        with server, guest.entered():
            assert _reaches(server.getsockname())
        link.cut()
    assert not (Path("/sys/class/net") / link.a_interface).exists()
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    assert link.a_interface not in tables


def test_the_end_of_a_lab_ends_its_processes_also_those_that_left_their_parent() -> None:
    with Lab() as lab:
        host = lab.host("a")
        host.popen(["sh", "-c", "setsid sleep 1000 & exec sleep 1000"])
        while len(host.pids()) < 2:
            pass
        pids = host.pids()
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists() and not _reaped(pid)] == []
    assert not (NAMESPACES / host.namespace).exists()


def _reaped(pid: int) -> bool:
    """A process that its own parent has not asked about yet has ended all the same."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_failure_inside_removes_the_lab() -> None:
    lab = Lab()
    host = lab.host("a")
    with pytest.raises(ZeroDivisionError), lab:
        raise ZeroDivisionError
    assert not (NAMESPACES / host.namespace).exists()


def test_a_failing_command_says_what_and_why() -> None:
    with Lab() as lab, pytest.raises(LabError, match=r"ip link set nothing up: .*nothing"):
        lab.host("a").run(["ip", "link", "set", "nothing", "up"])


def test_names_for_wireguard_are_unique_and_short_enough() -> None:
    with Lab() as one, Lab() as other:
        names = [lab.interface_name("hub") for lab in (one, other) for _ in range(20)]
    assert len(set(names)) == len(names)
    assert all(len(name) <= 15 for name in names)


def test_leftovers_of_a_killed_owner_are_removed_and_others_are_not() -> None:
    program = textwrap.dedent("""
        import sys, time
        from tests.support.netlab import Lab
        with Lab() as lab:
            host = lab.host("orphan")
            host.popen(["sleep", "1000"])
            print(host.namespace, flush=True)
            time.sleep(1000)
    """)
    with Lab() as mine:
        kept = mine.host("kept")
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as owner:
            assert owner.stdout is not None
            orphan = owner.stdout.readline().strip()
            assert orphan not in remove_leftovers(), "its owner lives"
            os.kill(owner.pid, signal.SIGKILL)
        assert orphan in remove_leftovers()
        assert not (NAMESPACES / orphan).exists()
        assert (NAMESPACES / kept.namespace).exists()
