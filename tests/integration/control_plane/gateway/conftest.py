from collections.abc import Iterator
from pathlib import Path

import pytest

from control_plane.store import Store
from tests.support.databases import database_url, postgresql_server, store

__all__ = ["database_url", "postgresql_server", "sqlite_store", "store"]


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    """A migrated store where the kind of database makes no difference."""
    store = Store(f"sqlite:///{tmp_path / 'daalu.db'}")
    store.migrate()
    yield store
    store.close()
