"""The store: tables, migrations, one writer, and word of what changed.

A *unit* of work is a function of a Session; `Store.write` runs it in a group commit and returns when it is
durable. *Changes* tell every process which kinds of rows to read again.
"""

from control_plane.store.changes import EVERYTHING, Changes, announce, watch
from control_plane.store.clock import unix_ms
from control_plane.store.database import DatabaseIsNewer, Store, newest_schema
from control_plane.store.driver_sql import column_names, insert_rows
from control_plane.store.processes import Living, beat, end
from control_plane.store.writer import WriterClosed, WriterOverloaded

__all__ = [
    "EVERYTHING",
    "Changes",
    "DatabaseIsNewer",
    "Living",
    "Store",
    "WriterClosed",
    "WriterOverloaded",
    "announce",
    "beat",
    "column_names",
    "end",
    "insert_rows",
    "newest_schema",
    "unix_ms",
    "watch",
]
