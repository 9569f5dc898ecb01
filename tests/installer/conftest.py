"""One control plane and one release for all of the installer's tests; each test has a Debian of its own."""

import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from installer.release import build, new_key, sign
from tests.support.debian import DebianMachine
from tests.support.netlab import Lab
from tests.support.networks import Internet
from tests.support.product import ControlPlane

TENANT = "owner"
PYTHON = "3.11"
TEST_TIMEOUT_S = 300
OPTIONS = "--simulated-card 'RTX 2000 Ada' --disk-gib 1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and item.get_closest_marker("debian"):
            item.add_marker(pytest.mark.timeout(TEST_TIMEOUT_S))


@dataclass(frozen=True, slots=True)
class Site:
    """What tests share, and a way to new machines. `release` is what the control plane serves."""

    lab: Lab
    network: Internet
    control: ControlPlane
    release: Path
    key: Path
    directory: Path

    def line(self, options: str = OPTIONS) -> str:
        """What the owner pastes, with options of the installer behind it."""
        return f"{self.control.install_line(TENANT)} {options}"


@pytest.fixture(scope="session")
def release_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "release.key"
    new_key(path)
    return path


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory, release_key: Path) -> Path:
    directory = tmp_path_factory.mktemp("release") / "0"
    build(directory, [PYTHON], "x86_64")
    sign(directory, release_key)
    return directory


@pytest.fixture(scope="session")
def site(release: Path, release_key: Path) -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="daalu-installer-") as name, Lab() as lab:
        directory, network = Path(name), Internet(lab)
        control = ControlPlane(
            network.control,
            directory,
            address=network.control_address,
            interface=lab.interface_name("hub"),
            catalogue=None,
            artifacts=release,
        )
        control.init()
        control.start()
        try:
            control.create_tenant(TENANT)
            yield Site(lab, network, control, release, release_key, directory)
        finally:
            control.stop()


_numbers = itertools.count(1)


@pytest.fixture
def machine(site: Site) -> Iterator[Callable[..., DebianMachine]]:
    """Makes machines at a customer's, behind a translator; they end with the test."""
    with ExitStack() as stack:

        def make(*, systemd: bool = True) -> DebianMachine:
            name = f"host{next(_numbers)}"
            host = site.network.customer(name).host
            made = DebianMachine(host, site.directory / name, systemd=systemd)
            return stack.enter_context(made)

        yield make
