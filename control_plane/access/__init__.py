"""Who may use this: tenants, their users, and the API keys of their programs.

A *principal* is an API key that was presented and is good. The *access index* answers for keys from memory
and follows the store, so that a revoked key is refused within a second in every process. The *operator*
runs the control plane and holds its token. A *session* is a browser that is signed in, and a *link* the
one-time way to choose a password. The *audit trail* says who changed what.
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
from control_plane.access.page_keys import page_principal
from control_plane.access.passwords import MIN_PASSWORD_CHARACTERS, check_password, hash_password, is_password
from control_plane.access.principal import Principal
from control_plane.access.sessions import SignedIn, end_session, find_session, start_session
from control_plane.access.sign_in import (
    choose_password,
    find_link,
    new_link,
    password_hash_of,
    user_of_address,
)
from control_plane.access.tenants import create_tenant, find_tenant, list_tenants
from control_plane.access.trail import MOST_ENTRIES as MOST_AUDIT_ENTRIES
from control_plane.access.trail import MOST_FILTER_CHARACTERS as MOST_AUDIT_FILTER_CHARACTERS
from control_plane.access.trail import AuditEntry, AuditPage, AuditSearch, read_trail
from control_plane.access.users import create_user, find_user, list_users, remove_user

__all__ = [
    "MIN_PASSWORD_CHARACTERS",
    "MOST_AUDIT_ENTRIES",
    "MOST_AUDIT_FILTER_CHARACTERS",
    "OPERATOR",
    "AccessIndex",
    "AuditEntry",
    "AuditPage",
    "AuditSearch",
    "Duplicate",
    "Invalid",
    "NewKey",
    "OperatorToken",
    "Principal",
    "SignedIn",
    "Temporary",
    "Unknown",
    "audit",
    "check_name",
    "check_password",
    "choose_password",
    "create_key",
    "create_tenant",
    "create_user",
    "end_session",
    "extend_key",
    "find_link",
    "find_session",
    "find_tenant",
    "find_user",
    "hash_key",
    "hash_password",
    "is_password",
    "list_keys",
    "list_tenants",
    "list_users",
    "new_link",
    "page_principal",
    "password_hash_of",
    "read_trail",
    "remove_user",
    "revoke_key",
    "start_session",
    "user_of_address",
]
