"""GET /v1/models: what a tenant can reach now."""

import orjson

from control_plane.fleet import FleetView
from control_plane.identifiers import TenantId
from control_plane.router import is_reachable


def reachable_models(fleet: FleetView, tenant_id: TenantId, created_unix_s: int) -> list[dict[str, object]]:
    """Model objects in OpenAI's form, by name; `max_model_len` (as vLLM has it) is the largest context."""
    contexts: dict[str, int] = {}
    for agent in fleet.by_tenant.get(tenant_id, ()):
        if agent.engine is not None and is_reachable(agent):
            name = agent.engine.served_name
            contexts[name] = max(contexts.get(name, 0), agent.engine.context_tokens)
    return [
        {
            "id": name,
            "object": "model",
            "created": created_unix_s,
            "owned_by": "daalu",
            "max_model_len": context,
        }
        for name, context in sorted(contexts.items())
    ]


def list_body(models: list[dict[str, object]]) -> bytes:
    return orjson.dumps({"object": "list", "data": models})
