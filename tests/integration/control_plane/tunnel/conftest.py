from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.netlab import Lab
from tests.support.tunnel import HubSite


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


@pytest.fixture
def site(lab: Lab, tmp_path: Path) -> Iterator[HubSite]:
    """A hub that is not started yet."""
    site = HubSite(lab.host("hub"), tmp_path / "data", lab.interface_name("hub"))
    yield site
    site.close()
