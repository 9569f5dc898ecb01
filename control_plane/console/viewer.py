"""Who looks at a page. Every query of a page takes its tenant from here, and from nowhere else."""

from dataclasses import dataclass

from control_plane.economy import Role
from control_plane.identifiers import TenantId


@dataclass(frozen=True, slots=True)
class Viewer:
    """`tenant_id` is empty for the operator, who belongs to none; then no tenant's page is shown."""

    tenant_id: TenantId
    tenant_name: str
    # As people know the viewer: an address, or "Operator".
    name: str
    # As the audit trail names the viewer.
    actor: str
    role: Role
    is_admin: bool
    is_operator: bool
    # What a form must bring back; of this session.
    form_token: str
