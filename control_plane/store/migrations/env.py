"""Alembic's entry: runs migrations on the connection that Store.migrate hands over."""

from alembic import context

from control_plane.store.diagnostic_tables import DiagnosticRun
from control_plane.store.economy_tables import Pool
from control_plane.store.load_test_tables import LoadTest

# One of each module, so that all tables are known.
_TABLES = (DiagnosticRun, LoadTest, Pool)

connection = context.config.attributes["connection"]
if connection.dialect.name == "postgresql":
    # Two processes may start at once; the second waits, then finds nothing to do.
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7231905)")
context.configure(connection=connection, target_metadata=Pool.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
