"""Who is calling."""

from dataclasses import dataclass

from control_plane.identifiers import ApiKeyId, TenantId
from control_plane.store.tables import Purpose


@dataclass(frozen=True, slots=True)
class Principal:
    """An API key that was presented and is good."""

    tenant_id: TenantId
    tenant_name: str
    api_key_id: ApiKeyId
    purpose: Purpose
