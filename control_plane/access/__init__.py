"""Who may use this: tenants, their users, and the API keys of their programs.

A *principal* is an API key that was presented and is good. The *access index* answers for keys from memory
and follows the store, so that a revoked key is refused within a second in every process. The *operator*
runs the control plane and holds its token. The *audit trail* says who changed what.
"""

from control_plane.access.audit import OPERATOR, audit
from control_plane.access.conditions import Duplicate, Invalid, Unknown
from control_plane.access.index import AccessIndex
from control_plane.access.keys import (
    NewKey,
    Temporary,
    create_key,
    extend_key,
    hash_key,
    list_keys,
    revoke_key,
)
from control_plane.access.names import check_name
from control_plane.access.operator import OperatorToken
from control_plane.access.principal import Principal
from control_plane.access.tenants import create_tenant, find_tenant, list_tenants
from control_plane.access.users import create_user, list_users

__all__ = [
    "OPERATOR",
    "AccessIndex",
    "Duplicate",
    "Invalid",
    "NewKey",
    "OperatorToken",
    "Principal",
    "Temporary",
    "Unknown",
    "audit",
    "check_name",
    "create_key",
    "create_tenant",
    "create_user",
    "extend_key",
    "find_tenant",
    "hash_key",
    "list_keys",
    "list_tenants",
    "list_users",
    "revoke_key",
]
