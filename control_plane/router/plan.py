"""The plan of a call: who may serve it, in order, and why nobody else does. Pure."""

from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar, overload

from control_plane.economy import LeftOutPool, Pin, PoolOffer
from control_plane.fleet import Liveness
from control_plane.router.candidates import (
    AnyCandidate,
    AtVendor,
    LeftOut,
    OperatorCard,
    OwnCard,
    PerimeterCandidate,
    Reason,
)
from control_plane.router.facts import CallFacts, CodingCall, GeneralCall, TenantFacts, World
from control_plane.router.obstacles import on_it, own_obstacle
from control_plane.router.seats import any_seat, choose_seats
from control_plane.store.economy_tables import Overage
from control_plane.store.tables import Tier

C_co = TypeVar("C_co", covariant=True)
Candidate = TypeVar("Candidate", bound=AnyCandidate)

# Reasons that say nothing of whether the model exists for the tenant.
_UNRELATED = (
    Reason.NO_ENGINE,
    Reason.OTHER_MODEL,
    Reason.UNPRICED,
    Reason.NO_CARDS,
    Reason.EXTERNAL_NOT_ALLOWED,
    Reason.OVERAGE_STOPS,
)


@dataclass(frozen=True, slots=True)
class Plan(Generic[C_co]):
    """Best candidate first."""

    candidates: tuple[C_co, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def model_is_known(self) -> bool:
        """Whether anything that the tenant may use serves the model, able to take the call or not."""
        return bool(self.candidates) or any(left.reason not in _UNRELATED for left in self.left_out)

    @property
    def only_context_is_missing(self) -> bool:
        """Whether everything that serves the model is too small for this call."""
        reasons = {left.reason for left in self.left_out}.difference(_UNRELATED)
        return not self.candidates and reasons == {Reason.CONTEXT_TOO_SMALL}

    @property
    def needs_a_right(self) -> bool:
        """Whether the model is there for others: a subscription is what the tenant lacks."""
        reasons = {left.reason for left in self.left_out}.difference(_UNRELATED)
        return not self.candidates and reasons == {Reason.NOT_ENTITLED}


PerimeterPlan: TypeAlias = Plan[PerimeterCandidate]
OpenPlan: TypeAlias = Plan[AnyCandidate]


@overload
def plan(call: CodingCall, tenant: TenantFacts, world: World) -> PerimeterPlan: ...


@overload
def plan(call: GeneralCall, tenant: TenantFacts, world: World) -> OpenPlan: ...


def plan(call: CallFacts, tenant: TenantFacts, world: World) -> OpenPlan:
    """Own cards, then the cards of each pool that the tenant may use, then vendors.

    Looks at the tenant's own agents and at a few of each pool's: the size of the fleet costs nothing.
    """
    if isinstance(call, CodingCall):
        return _obeying(tenant.pin, _within_perimeter(call, tenant, world))
    return _obeying(tenant.pin, _open(call, tenant, world))


def _within_perimeter(call: CodingCall, tenant: TenantFacts, world: World) -> PerimeterPlan:
    own, left_out = _own(call, tenant, world)
    seats: list[OperatorCard] = []
    for offer in tenant.offers.usable:
        if not offer.operator_cards.has_other_than(tenant.tenant_id):
            words = "coding calls are served on operator cards only, and it has none"
            left_out.append(LeftOut(Tier.POOL, Reason.UNTRUSTED_CARDS, words, pool_name=offer.pool_name))
            continue
        found, passed_over = choose_seats(call, tenant, offer, offer.operator_cards, world, OperatorCard)
        seats += found
        left_out += passed_over if found else _explained(offer, passed_over)
    return Plan((*own, *seats), (*left_out, *_pools_left_out(tenant)))


def _open(call: CallFacts, tenant: TenantFacts, world: World) -> OpenPlan:
    own, left_out = _own(call, tenant, world)
    candidates: list[AnyCandidate] = [*own]
    for offer in tenant.offers.usable:
        found, passed_over = choose_seats(call, tenant, offer, offer.cards, world, any_seat)
        candidates += found
        left_out += passed_over if found else _explained(offer, passed_over)
    left_out += _pools_left_out(tenant)
    vendors, passed_over = _vendors(call, tenant, world)
    return Plan((*candidates, *vendors), (*left_out, *passed_over))


def _explained(offer: PoolOffer, passed_over: list[LeftOut]) -> list[LeftOut]:
    """Of a pool that has a price for the model: where no card of it says more, the pool itself does."""
    if any(left.reason not in _UNRELATED for left in passed_over):
        return passed_over
    words = "no card of it serves the model now"
    return [*passed_over, LeftOut(Tier.POOL, Reason.NO_CARD_SERVES_IT, words, pool_name=offer.pool_name)]


def _own(call: CallFacts, tenant: TenantFacts, world: World) -> tuple[list[OwnCard], list[LeftOut]]:
    cards: list[OwnCard] = []
    left_out: list[LeftOut] = []
    for agent in world.fleet.by_tenant.get(tenant.tenant_id, ()):
        obstacle = own_obstacle(call, agent, world)
        if obstacle is not None:
            left_out.append(LeftOut(Tier.OWN, *obstacle, agent.agent_id, agent.name))
        elif agent.engine is not None:
            calls = on_it(agent.engine, world.in_flight.get(agent.agent_id, 0))
            load = calls / max(agent.engine.max_running_calls, 1)
            cards.append(OwnCard(agent, agent.engine.served_name, load))
    cards.sort(key=_preference)
    return cards, left_out


def _preference(candidate: OwnCard) -> tuple[bool, float, str]:
    # A suspect agent is still good, but only if no live one is left.
    return candidate.agent.liveness is not Liveness.LIVE, candidate.load, candidate.agent.agent_id


def _obeying(pin: Pin | None, plan: Plan[Candidate]) -> Plan[Candidate]:
    if pin is None:
        return plan
    kept: list[Candidate] = []
    left_out: list[LeftOut] = []
    for candidate in plan.candidates:
        if _is_pinned(pin, candidate):
            kept.append(candidate)
        else:
            left_out.append(_pinned_elsewhere(pin, candidate))
    return Plan(tuple(kept), (*plan.left_out, *left_out))


def _is_pinned(pin: Pin, candidate: AnyCandidate) -> bool:
    if candidate.tier is not pin.tier:
        return False
    if isinstance(candidate, AtVendor):
        return True
    pool_id = None if isinstance(candidate, OwnCard) else candidate.offer.pool_id
    return pin.pool_id in (None, pool_id) and pin.agent_id in (None, candidate.agent.agent_id)


def _pinned_elsewhere(pin: Pin, candidate: AnyCandidate) -> LeftOut:
    words = f"an administrator pinned these calls to the tier {pin.tier}"
    if isinstance(candidate, AtVendor):
        return LeftOut(candidate.tier, Reason.PINNED_ELSEWHERE, words)
    if pin.pool_id is not None or pin.agent_id is not None:
        words += f" ({pin.agent_id or pin.pool_id})"
    agent = candidate.agent
    pool = None if isinstance(candidate, OwnCard) else candidate.offer.pool_name
    return LeftOut(candidate.tier, Reason.PINNED_ELSEWHERE, words, agent.agent_id, agent.name, pool)


_WORDS = {
    Reason.UNPRICED: "the model has no price in it, so it is not served there",
    Reason.NO_CARDS: "it has no cards but your own",
    Reason.UNTRUSTED_CARDS: "its cards are other tenants', and your trust policy admits operator cards only",
}


def _pools_left_out(tenant: TenantFacts) -> list[LeftOut]:
    if tenant.offers.not_entitled:
        words = "pools serve the model to subscribers, and you have no subscription"
        return [LeftOut(Tier.POOL, Reason.NOT_ENTITLED, words)]
    return [_pool_left_out(left) for left in tenant.offers.left_out]


def _pool_left_out(left: LeftOutPool) -> LeftOut:
    reason = Reason(left.reason.value)
    return LeftOut(Tier.POOL, reason, _WORDS[reason], pool_name=left.pool_name)


def _vendors(call: CallFacts, tenant: TenantFacts, world: World) -> tuple[list[AtVendor], list[LeftOut]]:
    if not world.vendors:
        return [], []
    policy = tenant.external
    if not policy.allowed or not policy.monthly_cap_micro_usd:
        words = "vendors are not allowed for this tenant" if not policy.allowed else "the spend cap is 0"
        return [], [LeftOut(Tier.EXTERNAL, Reason.EXTERNAL_NOT_ALLOWED, words)]
    # A plan whose overage policy is `stop` ends the call at its pool, whatever the reason for that.
    for offer in tenant.offers.usable:
        if offer.plan.overage is Overage.STOP:
            words = f"the plan {offer.plan.name!r} stops where its pool cannot serve"
            return [], [LeftOut(Tier.EXTERNAL, Reason.OVERAGE_STOPS, words)]
    vendors: list[AtVendor] = []
    left_out: list[LeftOut] = []
    for model in world.vendors:
        needed = call.prompt_tokens_at_least + (call.max_tokens or 1)
        if not call.text_only:
            left_out.append(LeftOut(Tier.EXTERNAL, Reason.NOT_TEXT, f"{model.vendor} is sent text only"))
        elif model.vendor in world.broken:
            words = f"{model.vendor} failed several times in a row just now, and is left alone for a while"
            left_out.append(LeftOut(Tier.EXTERNAL, Reason.BREAKER_OPEN, words))
        elif needed > model.context_tokens:
            words = f"at least {needed} tokens are needed, {model.vendor} takes {model.context_tokens}"
            left_out.append(LeftOut(Tier.EXTERNAL, Reason.CONTEXT_TOO_SMALL, words))
        elif call.max_tokens is not None and call.max_tokens > model.max_output_tokens:
            words = f"{model.vendor} answers with at most {model.max_output_tokens} tokens"
            left_out.append(LeftOut(Tier.EXTERNAL, Reason.CONTEXT_TOO_SMALL, words))
        else:
            vendors.append(AtVendor(model, policy))
    return vendors, left_out
