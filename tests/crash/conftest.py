from tests.support.databases import postgresql_server

__all__ = ["postgresql_server"]
