"""Every row of the table of scenarios, through the whole gateway, over engines that are scripted and a store
that is real."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from control_plane.economy import Role, verify
from control_plane.store import Store
from tests.support.scenario import Row
from tests.support.scenario_table import ROWS
from tests.support.scenes import Seen, play


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty migrated database, made once for all rows."""
    path = tmp_path_factory.mktemp("scenarios") / "daalu.db"
    store = Store(f"sqlite:///{path}")
    store.migrate()
    store.close()
    return path


@pytest.fixture
def books(migrated: Path, tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{shutil.copy(migrated, tmp_path)}")
    yield store
    store.close()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.says)
async def test_a_call_is_served_where_and_for_what_its_scenario_says(row: Row, books: Store) -> None:
    seen = await play(books, row.given)
    then, reached = row.then, {*row.also_reached, *([row.then.served_by] if row.then.served_by else ())}
    expected = Seen(
        role=row.role,
        status=then.status,
        code=then.code,
        tier=then.tier,
        reached=frozenset(reached),
        charge_pico_usd=then.charge,
        credit_pico_usd=then.credit,
        account=then.account,
        reasons=seen.reasons,
        still_held=0,
    )
    assert seen == expected
    assert seen.reasons >= set(row.because)
    assert await books.read(verify) == []


def test_the_tables_rows_are_many_and_each_says_something_of_its_own() -> None:
    assert len(ROWS) >= 40
    assert len({row.says for row in ROWS}) == len(ROWS)
    assert {row.role for row in ROWS} == set(Role)
