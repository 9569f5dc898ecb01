"""Checks before changes: whatever is missing is one line with what mends it, all of it at once."""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.installer.conftest import Machines, Site
from tests.support.debian import DebianMachine
from tests.support.rogue import RogueServer

pytestmark = pytest.mark.debian

SCRIPT = "/srv/install.sh"


@pytest.fixture(scope="module")
def host(site: Site, machines: Machines) -> DebianMachine:
    made = machines.new()
    made.write(SCRIPT, (site.release / "install.sh").read_text())
    return made


def _check(site: Site, host: DebianMachine, options: str = "", *, url: str | None = None) -> tuple[int, str]:
    """`--check` with a card that needs no driver, where no other options are given."""
    options = options or "--simulated-card x --disk-gib 1"
    key = (site.release / "release.pub").read_text().strip()
    invite = site.invite_to(url or site.control.url)
    before = host.files()
    result = host.shell(f"sh {SCRIPT} --check --release-key {key} {options} {invite}", check=False)
    assert host.files() == before
    return result.returncode, result.stdout


def _missing(said: str) -> list[str]:
    return [line.removeprefix("  missing: ") for line in said.splitlines() if line.startswith("  missing: ")]


@contextmanager
def _without(host: DebianMachine, path: str) -> Iterator[None]:
    host.shell(f"mv {path} {path}.away")
    try:
        yield
    finally:
        host.shell(f"mv {path}.away {path}")


@contextmanager
def _file(host: DebianMachine, path: str, text: str, mode: int = 0o644) -> Iterator[None]:
    """In place of what is there, if anything is."""
    host.shell(f"! [ -e {path} ] || mv {path} {path}.away")
    host.write(path, text, mode)
    try:
        yield
    finally:
        host.shell(f"rm {path}; ! [ -e {path}.away ] || mv {path}.away {path}")


def _one(outcome: tuple[int, str], *words: str) -> None:
    status, said = outcome
    assert status == 1, said
    assert "nothing was changed" in said
    (line,) = _missing(said)
    assert all(each in line for each in words), line
    assert ". Mend it with: " in line


def test_a_host_that_has_everything_is_ready(site: Site, host: DebianMachine) -> None:
    status, said = _check(site, host)
    assert status == 0
    assert "this host is ready; nothing was changed" in said


def test_the_users_and_the_systems_faults_are_one_line_each(site: Site, host: DebianMachine) -> None:
    with _without(host, "/usr/bin/setpriv"):
        _one(_check(site, host), "setpriv", "apt-get install util-linux")
    with _file(host, "/etc/os-release", "ID=arch\nPRETTY_NAME='Arch Linux'\n"):
        status, said = _check(site, host)
        assert status == 1
        assert "a supported system (this is Arch Linux)" in said
        assert "Python 3.11 or later" in said
    with _file(host, "/etc/os-release", "ID=ubuntu\nVERSION_ID=24.04\nPRETTY_NAME='Ubuntu 24.04'\n"):
        status, said = _check(site, host)
        assert status == 0
        assert "has not been proved on it" in said
    result = host.shell(f"setpriv --reuid 65534 sh {SCRIPT} --check x", check=False)
    assert (result.returncode, result.stdout) == (1, "install.sh: run it as root: sudo sh install.sh\n")


def test_tunnels_are_one_line(site: Site, host: DebianMachine) -> None:
    with _without(host, "/dev/net/tun"):
        _one(_check(site, host), "WireGuard in the kernel, and /dev/net/tun", "modprobe tun")
    host.shell("chmod 600 /dev/net/tun")
    _one(_check(site, host), "chmod 666 /dev/net/tun")
    host.shell("chmod 666 /dev/net/tun")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            "echo 'No devices were found'; exit 6",
            ("a working NVIDIA driver (nvidia-smi: No devices were found)",),
        ),
        ("echo 'NVIDIA GeForce GTX 1050, 4096, 580.82.07'", ("a card with 7000 MiB",)),
        (
            "echo 'NVIDIA RTX 2000 Ada Generation, 16380, 470.256.02'",
            ("driver 580 or later", "apt-get install"),
        ),
        ("echo 'NVIDIA X, [N/A], 580.1'", ("a card with 7000 MiB",)),
    ],
)
def test_a_card_that_will_not_do_is_one_line(
    site: Site, host: DebianMachine, answer: str, words: tuple[str, ...]
) -> None:
    with _file(host, "/usr/local/bin/nvidia-smi", f"#!/bin/sh\n{answer}\n", 0o755):
        _one(_check(site, host, "--disk-gib 1"), *words)


def test_a_missing_driver_is_one_line_and_a_good_card_is_shown(site: Site, host: DebianMachine) -> None:
    _one(
        _check(site, host, "--disk-gib 1"),
        "the NVIDIA driver (no nvidia-smi)",
        "apt-get install nvidia-driver",
    )
    good = "#!/bin/sh\necho 'NVIDIA RTX 2000 Ada Generation, 16380, 580.82.07'\n"
    with _file(host, "/usr/local/bin/nvidia-smi", good, 0o755):
        status, said = _check(site, host, "--disk-gib 1")
    assert status == 0
    assert "card: NVIDIA RTX 2000 Ada Generation, 16380 MiB, driver 580.82.07" in said


def test_a_full_disk_is_one_line(site: Site, host: DebianMachine) -> None:
    outcome = _check(site, host, "--simulated-card x --disk-gib 100000 --models /srv/models")
    _one(outcome, "room for models: 102400000 MiB at /srv/models", "--models DIRECTORY")


def test_a_control_plane_out_of_reach_is_one_line(site: Site, host: DebianMachine) -> None:
    address = site.network.control_address
    _one(_check(site, host, url=f"https://{address}:1"), f"a way to https://{address}:1", "TCP 1")
    _one(
        _check(site, host, url="https://control.invalid:8443"),
        "a name server that knows control.invalid:8443",
    )
    # Packets vanish: an address that nobody has.
    _one(_check(site, host, url="https://203.0.113.77:8443"), "a way to https://203.0.113.77:8443")


def test_the_wrong_control_plane_is_one_line(site: Site, host: DebianMachine, tmp_path: Path) -> None:
    key = (site.release / "release.pub").read_text().strip()
    invite = site.invite_to(site.control.url)
    # The key's last byte is the invite's.
    other = invite[:-2] + ("AA" if not invite.endswith("AA") else "EA")
    result = host.shell(
        f"sh {SCRIPT} --check --release-key {key} --simulated-card x --disk-gib 1 {other}", check=False
    )
    _one((result.returncode, result.stdout), "has another key than the invite names", "a new invite")


def test_no_release_and_a_wrong_clock_are_one_line_each(
    site: Site, host: DebianMachine, rogue: RogueServer
) -> None:
    rogue.content = {}
    _one(_check(site, host, url=rogue.url), "a release at", "daalu serve --artifacts")
    rogue.serve_directory(site.release)
    rogue.clock_ahead = dt.timedelta(hours=1)
    _one(_check(site, host, url=rogue.url), "the right time: this clock is -36", "timedatectl set-ntp true")
    rogue.clock_ahead = dt.timedelta()
    assert _check(site, host, url=rogue.url)[0] == 0


def test_all_that_is_missing_is_said_at_once(site: Site, host: DebianMachine) -> None:
    with _without(host, "/dev/net/tun"):
        status, said = _check(site, host, "--disk-gib 100000", url="https://203.0.113.2:1")
    assert status == 1
    assert [line.split(" ")[0] for line in _missing(said)] == ["the", "room", "WireGuard", "a"]


def test_a_damaged_invite_is_one_line(site: Site, host: DebianMachine) -> None:
    key = (site.release / "release.pub").read_text().strip()
    invite = site.invite_to(site.control.url)
    for text in (invite[:-10], invite[:20], "daalu-invite-", "daalu-invite-%%%%", "sk-123"):
        result = host.shell(f"sh {SCRIPT} --check --release-key {key} --simulated-card x {text}", check=False)
        assert result.returncode == 1, text
        assert "invite" in result.stdout
        assert result.stdout.count("\n") == 1, result.stdout
