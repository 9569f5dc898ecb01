"""Whether the router would place a call of the tenant's own on one card of it. Pure."""

from control_plane.economy import Pin
from control_plane.fleet import AgentView
from control_plane.router.facts import GeneralCall, TenantFacts, World
from control_plane.router.plan import plan
from control_plane.store.tables import Tier


def why_left_out(agent: AgentView, world: World) -> str | None:
    """Of the smallest call for the model that it serves; None: the card is a candidate."""
    model = agent.engine.served_name if agent.engine is not None else ""
    call = GeneralCall(model, prompt_characters=0, max_tokens=1)
    pin = Pin(None, None, Tier.OWN, agent_id=agent.agent_id)
    made = plan(call, TenantFacts(agent.tenant_id, pin=pin), world)
    if made.candidates:
        return None
    reasons = [left.words for left in made.left_out if left.agent_id == agent.agent_id]
    return "; ".join(reasons) or "it is none of the tenant's cards"
