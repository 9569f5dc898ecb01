"""One control plane and one release for all of the installer's tests; each module has Debians of its own."""

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from control_plane.enrolment import file_key_sha256
from control_plane.install import Installation, Release
from installer.release import build, new_key, sign
from tests.support.debian import DebianMachine
from tests.support.enrolment_server import invite_text
from tests.support.machine import DEBIAN, debian_root
from tests.support.netlab import Lab
from tests.support.networks import Customer, Internet
from tests.support.product import ControlPlane
from tests.support.rogue import RogueServer, rogue_server

TENANT = "owner"
# Debian 13's tests run where its root was made: scripts/debian_root 13. Each has its own Python.
PYTHONS = {"12": "3.11"} | ({"13": "3.13"} if (debian_root("13") / ".complete").exists() else {})
TEST_TIMEOUT_S = 300
OPTIONS = "--simulated-card 'RTX 2000 Ada' --disk-gib 1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not item.path.is_relative_to(Path(__file__).parent) or item.get_closest_marker("timeout"):
            continue
        if item.get_closest_marker("debian"):
            item.add_marker(pytest.mark.timeout(TEST_TIMEOUT_S))


@dataclass(frozen=True, slots=True)
class Site:
    """What tests share. The control plane serves what `served` points to."""

    lab: Lab
    network: Internet
    control: ControlPlane
    # The release that is served at the start, and the key that signed it.
    release: Path
    key: Path
    served: Path
    directory: Path

    def line(self, options: str = OPTIONS) -> str:
        """What the owner pastes, with options of the installer behind it."""
        return f"{self.control.install_line(TENANT)} {options}"

    def serve(self, release: Path) -> None:
        """Puts another release in its place. Agents are out for as long as the restart takes."""
        self.served.unlink()
        self.served.symlink_to(release)
        self.control.restart()

    def line_to(self, url: str, options: str = OPTIONS) -> str:
        """The true release's line, to somebody else who holds the control plane's TLS key."""
        line = Installation(Release.load(self.release), url, self.pin).line(self.invite_to(url))
        return f"{line} {options}"

    def invite_to(self, url: str) -> str:
        """Of a token that nobody knows."""
        return invite_text(url=url, token=b"t" * 32, control_plane_key_sha256=self.pin)

    @property
    def pin(self) -> bytes:
        return file_key_sha256(self.control.data / "tls" / "server.pem")


@dataclass(frozen=True, slots=True)
class Machines:
    """Makes machines at customers' of their own, behind translators."""

    site: Site
    _stack: ExitStack

    def new(self, *, systemd: bool = True, version: str = DEBIAN) -> DebianMachine:
        customer = self.site.network.customer(f"host{next(_numbers)}")
        return self.at(customer, systemd=systemd, version=version)

    def at(self, customer: Customer, *, systemd: bool = True, version: str = DEBIAN) -> DebianMachine:
        directory = self.site.directory / customer.host.name
        machine = DebianMachine(customer.host, directory, version=version, systemd=systemd)
        return self._stack.enter_context(machine)


_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = tmp_path_factory.mktemp("release")
    release, key, served = made / "0", made / "release.key", made / "served"
    new_key(key)
    build(release, list(PYTHONS.values()), "x86_64")
    sign(release, key)
    served.symlink_to(release)
    with tempfile.TemporaryDirectory(prefix="daalu-installer-") as name, Lab() as lab:
        directory, network = Path(name), Internet(lab)
        control = ControlPlane(
            network.control,
            directory,
            address=network.control_address,
            interface=lab.interface_name("hub"),
            catalogue=None,
            artifacts=served,
        )
        control.init()
        control.start()
        try:
            control.create_tenant(TENANT)
            yield Site(lab, network, control, release, key, served, directory)
        finally:
            control.stop()


@pytest.fixture(scope="module")
def machines(site: Site) -> Iterator[Machines]:
    """They end with the module."""
    with ExitStack() as stack:
        yield Machines(site, stack)


@pytest.fixture(scope="module")
def rogue(site: Site) -> Iterator[RogueServer]:
    tls = site.control.data / "tls"
    with rogue_server(
        site.control.host, site.network.control_address, tls / "server.pem", tls / "server.key"
    ) as server:
        yield server
