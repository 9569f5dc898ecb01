"""Statements of many rows, on both kinds of database."""

import pytest
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, select

from control_plane.store import Store, insert_rows
from control_plane.store.driver_sql import execute_in
from control_plane.store.tables import Setting


def _rows(count: int) -> list[dict[str, str]]:
    return [{"value": f"{number} of %s?", "name": f"n{number:03}"} for number in range(count)]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 64, 127, 200])
def test_every_row_is_written_whatever_their_number(store: Store, count: int) -> None:
    store.write_now(lambda session: insert_rows(session, Setting, _rows(count)))
    with store.reading() as session:
        found = [(row.name, row.value) for row in session.exec(select(Setting).order_by(Setting.name))]
    assert [each for each in found if each[0].startswith("n0") or each[0].startswith("n1")] == [
        (row["name"], row["value"]) for row in _rows(count)
    ]


@pytest.mark.parametrize("count", [0, 1, 3, 64, 65, 200])
def test_every_id_is_found_once_whatever_their_number(store: Store, count: int) -> None:
    def change(session: Session) -> int:
        insert_rows(session, Setting, _rows(200))
        names = [row["name"] for row in _rows(count)]
        statement = "UPDATE setting SET value = 'x' WHERE name IN"
        return sum(each.rowcount for each in execute_in(session, statement, names))

    assert store.write_now(change) == count
    with store.reading() as session:
        assert len(session.exec(select(Setting).where(Setting.value == "x")).all()) == count


def test_one_bad_row_of_many_writes_none(store: Store) -> None:
    with pytest.raises(IntegrityError):
        store.write_now(lambda session: insert_rows(session, Setting, [*_rows(70), *_rows(1)]))
    with store.reading() as session:
        assert session.get(Setting, "n000") is None


def test_a_row_without_a_column_is_refused(store: Store) -> None:
    with pytest.raises(KeyError):
        store.write_now(lambda session: insert_rows(session, Setting, [{"name": "n"}]))
