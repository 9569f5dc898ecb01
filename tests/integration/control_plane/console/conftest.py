"""A control plane with two tenants and their people."""

from collections.abc import Iterator

import httpx2
import pytest

from tests.support.console import browser, choose_password, new_person, run, sign_in
from tests.support.console_world import ConsoleWorld, console_world
from tests.support.control_plane import ControlPlane, initialised, serving

ADMIN = "ada@acme.test"
MEMBER = "max@acme.test"
OTHER = "olga@other.test"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    plane = initialised(tmp_path_factory.mktemp("plane") / "data", "--allow-direct")
    with serving(plane):
        for tenant in ("acme", "zebra-corp"):
            run(plane, "tenants", "create", tenant)
        for tenant, email, admin in [
            ("acme", ADMIN, True),
            ("acme", MEMBER, False),
            ("zebra-corp", OTHER, True),
        ]:
            choose_password(plane, new_person(plane, tenant, email, admin=admin))
        yield plane


@pytest.fixture
def client(plane: ControlPlane) -> Iterator[httpx2.Client]:
    with browser(plane) as client:
        yield client


@pytest.fixture
def admin(client: httpx2.Client) -> httpx2.Client:
    assert sign_in(client, ADMIN).status_code == 303
    return client


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleWorld]:
    """One that has tenants of every role, and agents that it hears."""
    with console_world(tmp_path_factory.mktemp("console")) as world:
        yield world
