"""Consistent copies of SQLite files that others go on writing."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

# Small enough that progress moves and Ctrl-C is heard.
PAGES_AT_ONCE = 256
BUSY_TIMEOUT_S = 10.0

Progress = Callable[[int, int], None]


@contextmanager
def frozen(path: Path) -> Iterator[sqlite3.Connection]:
    """The file as it is now, for as long as the block lasts; writers go on. Raises sqlite3.Error.

    An open read transaction keeps the copy from starting anew at every write. The write-ahead log grows by
    what is written until the block ends.
    """
    # Read and write: a reader of a write-ahead log shares its index. It is never made here.
    with closing(
        sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_TIMEOUT_S)
    ) as connection:
        connection.isolation_level = None
        connection.execute("BEGIN")
        # The transaction begins with the first read.
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield connection


def copy(source: sqlite3.Connection, path: Path, progress: Progress) -> None:
    """`progress`: pages done, and of how many. Raises sqlite3.Error."""

    def tell(_status: int, left: int, total: int) -> None:
        progress(total - left, total)

    with closing(sqlite3.connect(path)) as target:
        source.backup(target, pages=PAGES_AT_ONCE, progress=tell, sleep=0)


def check(path: Path) -> str | None:
    """What is wrong with a file that nobody uses, in SQLite's words; None: nothing."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if found == "ok" else str(found)


def schema_of(connection: sqlite3.Connection) -> str:
    """The store's last migration. Raises sqlite3.Error."""
    (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(revision)
