"""Who is calling."""

from dataclasses import dataclass

from control_plane.identifiers import AgentId, ApiKeyId, TenantId
from control_plane.store.tables import Purpose


@dataclass(frozen=True, slots=True)
class Principal:
    """An API key that was presented and is good."""

    tenant_id: TenantId
    tenant_name: str
    api_key_id: ApiKeyId
    purpose: Purpose
    # Its calls go to this card of the tenant's own and nowhere else, and wait there as long as it takes.
    only_agent_id: AgentId | None = None
    expires_unix_ms: int | None = None
