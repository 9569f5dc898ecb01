"""Whose series may be seen."""

from dataclasses import dataclass

from control_plane.identifiers import TenantId


@dataclass(frozen=True, slots=True)
class Scope:
    """`tenant_id`: only this tenant's; None: the operator's, everything."""

    tenant_id: TenantId | None

    @property
    def is_operators(self) -> bool:
        return self.tenant_id is None

    def sees(self, tenant_id: TenantId) -> bool:
        return self.tenant_id is None or self.tenant_id == tenant_id


OPERATORS = Scope(None)
