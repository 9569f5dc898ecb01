"""SQL in the driver's own form, for what is written for every call.

SQLAlchemy's text costs 20 µs more a statement and its Core 45 µs a row; and each statement hands the
interpreter to the event loop's thread and waits to get it back. So: few statements of many rows each, in
few texts, which the drivers keep prepared.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import CursorResult, Table
from sqlmodel import Session, SQLModel

# Statements have a power of two of rows or ids, up to this.
MOST_ROWS = 64


def execute(session: Session, statement: str, values: Sequence[Any]) -> CursorResult[Any]:
    """`statement` has a ? for each value, and no other."""
    connection = session.connection()
    if connection.dialect.paramstyle != "qmark":
        statement = _with_percents(statement)
    return connection.exec_driver_sql(statement, tuple(values))


def execute_in(session: Session, statement: str, ids: Sequence[str]) -> Iterator[CursorResult[Any]]:
    """`statement` ends with IN; run as often as it takes, so iterate to the end. An id may be there twice."""
    for begin in range(0, len(ids), MOST_ROWS):
        some = list(ids[begin : begin + MOST_ROWS])
        count = 1 << (len(some) - 1).bit_length()
        yield execute(session, f"{statement} ({_marks(count)})", some + some[-1:] * (count - len(some)))


def insert_rows(
    session: Session, model: type[SQLModel], rows: Sequence[Mapping[str, Any]], otherwise: str = ""
) -> None:
    """Rows with a value for every column. `otherwise`: what follows the VALUES, such as ON CONFLICT."""
    in_order = _in_order(model)
    begin = 0
    while begin < len(rows):
        count = min(1 << (len(rows) - begin).bit_length() - 1, MOST_ROWS)
        values = [value for row in rows[begin : begin + count] for value in in_order(row)]
        execute(session, f"{_insert(model, count)}{otherwise}", values)
        begin += count


def column_names(model: type[SQLModel]) -> list[str]:
    return [column.name for column in _table(model).columns]


@lru_cache
def _with_percents(statement: str) -> str:
    return statement.replace("?", "%s")


@lru_cache
def _marks(count: int) -> str:
    return ", ".join(["?"] * count)


@lru_cache
def _in_order(model: type[SQLModel]) -> "itemgetter[Any]":
    return itemgetter(*column_names(model))


@lru_cache
def _insert(model: type[SQLModel], count: int) -> str:
    names = column_names(model)
    rows = ", ".join([f"({_marks(len(names))})"] * count)
    return f"INSERT INTO {_table(model).name} ({', '.join(names)}) VALUES {rows}"  # noqa: S608 - our own names


def _table(model: type[SQLModel]) -> Table:
    return model.metadata.tables[str(model.__tablename__)]
