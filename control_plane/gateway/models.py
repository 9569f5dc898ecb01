"""GET /v1/models: what a tenant can reach now."""

from collections.abc import Container, Iterator

import orjson

from control_plane.economy import PoolOffer
from control_plane.fleet import AgentView, FleetView
from control_plane.gateway.ports import Economy
from control_plane.identifiers import TenantId
from control_plane.router import is_reachable, unhealthy
from control_plane.vendors import Vendors


def reachable_models(
    fleet: FleetView,
    economy: Economy,
    vendors: Vendors,
    countable: Container[str],
    tenant_id: TenantId,
    now_unix_ms: int,
) -> dict[str, int]:
    """Served names with the largest context that a call to each may have."""
    contexts = own_models(fleet, tenant_id)

    def add(model: str, context_tokens: int) -> None:
        contexts[model] = max(contexts.get(model, 0), context_tokens)

    for model in economy.priced_models():
        for offer in economy.offers(tenant_id, model, now_unix_ms).usable:
            for agent in _in_pool(fleet, offer, tenant_id, countable):
                if agent.engine is not None and agent.engine.served_name == model:
                    add(model, agent.engine.context_tokens)
    policy = economy.tenant(tenant_id).external
    if policy.allowed and policy.monthly_cap_micro_usd:
        for model, context_tokens in vendors.models.items():
            add(model, context_tokens)
    return contexts


def own_models(fleet: FleetView, tenant_id: TenantId) -> dict[str, int]:
    """Those that the tenant's own cards serve now."""
    contexts: dict[str, int] = {}
    for agent in fleet.by_tenant.get(tenant_id, ()):
        if agent.engine is not None and is_reachable(agent):
            name = agent.engine.served_name
            contexts[name] = max(contexts.get(name, 0), agent.engine.context_tokens)
    return contexts


def model_objects(contexts: dict[str, int], created_unix_s: int) -> list[dict[str, object]]:
    """In OpenAI's form, by name; `max_model_len` as vLLM has it."""
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


def _in_pool(
    fleet: FleetView, offer: PoolOffer, tenant_id: TenantId, countable: Container[str]
) -> Iterator[AgentView]:
    for card in offer.cards.cards:
        agent = fleet.by_id.get(card.agent_id)
        if agent is None or agent.engine is None or card.tenant_id == tenant_id:
            continue
        counted = card.operator_run or agent.engine.model_id in countable
        if counted and is_reachable(agent) and unhealthy(agent) is None:
            yield agent
