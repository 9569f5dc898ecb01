"""The audit trail: one row for each change of state, in the transaction that makes the change."""

import json
from collections.abc import Mapping

from sqlmodel import Session

from control_plane.store import unix_ms
from control_plane.store.tables import Audit

# The actor where the operator's token was used.
OPERATOR = "operator"


def audit(
    session: Session,
    *,
    actor: str,
    action: str,
    subject: str,
    tenant_id: str | None = None,
    detail: Mapping[str, object] | None = None,
) -> None:
    """Records that `actor` did `action` (e.g. "key.revoked") to the thing whose id is `subject`.

    `detail` holds what explains the change; never a key, a token or anything that a call carried.
    """
    session.add(
        Audit(
            at_unix_ms=unix_ms(),
            tenant_id=tenant_id,
            actor=actor,
            action=action,
            subject=subject,
            detail=json.dumps(detail or {}, sort_keys=True),
        )
    )
