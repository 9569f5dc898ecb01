from collections.abc import Iterator
from pathlib import Path

import pytest

from control_plane.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path / 'daalu.db'}")
    store.migrate()
    yield store
    store.close()
