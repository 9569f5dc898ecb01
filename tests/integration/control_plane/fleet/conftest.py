"""A migrated store, and an authority, for each test of the fleet."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from control_plane.store import Store
from tests.support.databases import database_url, postgresql_server
from tests.support.fleet_authority import ShortLivedAuthority

__all__ = ["database_url", "postgresql_server"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """For tests of links, to which the kind of database is one."""
    yield from _migrated(f"sqlite:///{tmp_path / 'daalu.db'}")


@pytest.fixture
def any_store(database_url: str) -> Iterator[Store]:
    """Once on each kind of database."""
    yield from _migrated(database_url)


@pytest.fixture
def authority() -> ShortLivedAuthority:
    return ShortLivedAuthority()


def _migrated(url: str) -> Iterator[Store]:
    store = Store(url)
    store.migrate()
    yield store
    store.close()
