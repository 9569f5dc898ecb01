from tests.support.databases import database_url, postgresql_server, store

__all__ = ["database_url", "postgresql_server", "store"]
