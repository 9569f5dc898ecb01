"""Fixtures: a fresh database of each kind, and a migrated store on it. Import them into a conftest."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from control_plane.store import Store
from tests.support import postgresql


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[postgresql.Server]:
    if reason := postgresql.missing_reason():
        pytest.skip(reason)
    with postgresql.running() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'daalu.db'}"
    server: postgresql.Server = request.getfixturevalue("postgresql_server")
    return server.create_database()


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A migrated store, once on each kind of database."""
    store = Store(database_url)
    store.migrate()
    yield store
    store.close()
