from collections.abc import Iterator

import pytest

from control_plane.economy import verify
from control_plane.store import Store
from tests.support.databases import database_url, postgresql_server, store
from tests.support.economy import add_economy

__all__ = ["database_url", "postgresql_server", "store"]


@pytest.fixture
def economy(store: Store) -> Iterator[Store]:
    """A store with an economy in it, whose books are in order when the test ends."""
    store.write_now(add_economy)
    yield store
    with store.reading() as session:
        assert verify(session) == []
