"""A control plane with a tenant of every role, and a browser of each."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx2
import pytest

from tests.support.console import browser, sign_in
from tests.support.console_world import ROLES, email_of
from tests.support.usage_world import UsageWorld, usage_world

As = Callable[[str], httpx2.Client]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UsageWorld]:
    with usage_world(tmp_path_factory.mktemp("usage")) as world:
        yield world


@pytest.fixture(scope="session")
def signed_in(world: UsageWorld) -> Iterator[As]:
    """The client of a role's admin, signed in once."""
    with ExitStack() as stack:
        clients = {role: stack.enter_context(browser(world.plane)) for role in ROLES}
        for role, client in clients.items():
            assert sign_in(client, email_of(role)).status_code == 303
        yield clients.__getitem__
