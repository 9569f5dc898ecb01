"""A call's plan: its facts and its tenant's, put before the router."""

import time

from control_plane.access import Principal
from control_plane.catalogue import AUTO, why_uncountable
from control_plane.economy import Pin, pin_for
from control_plane.gateway.models import own_models, reachable_models
from control_plane.gateway.parts import Parts
from control_plane.gateway.request import InferenceRequest, affinity_of
from control_plane.router import (
    AnyCandidate,
    CodingCall,
    GeneralCall,
    Plan,
    TenantFacts,
    World,
    choose_model,
    plan,
)
from control_plane.store import unix_ms
from control_plane.store.tables import Purpose, Tier


def plan_call(
    parts: Parts, principal: Principal, purpose: Purpose, request: InferenceRequest
) -> Plan[AnyCandidate]:
    """As of this moment, from memory alone."""
    model = _model(parts, principal, purpose, request)
    offers = parts.economy.offers(principal.tenant_id, model, unix_ms())
    terms = parts.economy.tenant(principal.tenant_id)
    pin = pin_for(terms.pins, model, purpose)
    if principal.only_agent_id is not None:
        pin = Pin(None, None, Tier.OWN, agent_id=principal.only_agent_id)
    tenant = TenantFacts(principal.tenant_id, offers, terms.external, pin)
    world = World(
        parts.fleet.view,
        parts.in_flight.counts,
        parts.breakers.open_at(time.monotonic()),
        countable=parts.counting.models,
        vendors=() if purpose is Purpose.CODING else parts.vendors.serving(model),
        measured=parts.measured(),
        measuring=principal.only_agent_id is not None,
    )
    kind = CodingCall if purpose is Purpose.CODING else GeneralCall
    call = kind(
        model,
        request.prompt_characters,
        request.max_tokens,
        request.text_only,
        not offers.usable or why_uncountable(request.body) is None,
        affinity_of(request) if offers.usable else 0,
    )
    return plan(call, tenant, world)


def _model(parts: Parts, principal: Principal, purpose: Purpose, request: InferenceRequest) -> str:
    """The served name of what the client asked for, by whatever name."""
    model = parts.names.served_name(request.model)
    if model != AUTO:
        return model
    view, tenant_id = parts.fleet.view, principal.tenant_id
    reachable = reachable_models(
        view, parts.economy, parts.vendors, parts.counting.models, tenant_id, unix_ms()
    )
    return choose_model(purpose, own_models(view, tenant_id), reachable, parts.names) or model
