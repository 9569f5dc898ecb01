"""Choosing the cards of one pool for one call. Pure.

Spare capacity first, then prefix affinity: the walk begins where the call's prefix lies on the pool's ring,
so calls whose prompts begin alike meet the same cards, whose caches have that prefix already. The load is
bounded (consistent hashing with bounded loads): a card that is clearly busier than its neighbours loses its
place to them.
"""

from collections.abc import Callable
from typing import TypeVar

from control_plane.economy import CardRing, PoolCard, PoolOffer
from control_plane.fleet import AgentView, Liveness
from control_plane.router.candidates import LeftOut, OperatorCard, Reason, ThirdPartyCard
from control_plane.router.facts import CallFacts, TenantFacts, World
from control_plane.router.obstacles import on_it, pool_obstacle
from control_plane.store.tables import Tier

# Cards of one pool that a plan names: one for each attempt that a call may have.
MOST_SEATS = 3
# Fit cards that are compared; what lies beyond them on the ring is not looked at.
MOST_COMPARED = 8
# Reasons that are kept for each pool.
MOST_LEFT_OUT = 20
# A card with more than its neighbours' mean load times this, and one call more, is passed over.
LOAD_BOUND = 1.25

Seat = TypeVar("Seat", OperatorCard, OperatorCard | ThirdPartyCard)
MakeSeat = Callable[[AgentView, str, float, PoolOffer, PoolCard], Seat]


def choose_seats(
    call: CallFacts,
    tenant: TenantFacts,
    offer: PoolOffer,
    cards: CardRing,
    world: World,
    make: MakeSeat[Seat],
) -> tuple[list[Seat], list[LeftOut]]:
    """Best first, and why others were passed over. `cards` are the offer's, or some of them."""
    fit: list[tuple[AgentView, float, PoolCard]] = []
    left_out: list[LeftOut] = []
    # Looked for here, and not among the seats: a pinned card must not lose its place to others.
    pinned = tenant.pin.agent_id if tenant.pin is not None and tenant.pin.tier is Tier.POOL else None
    for card in cards.walk(call.affinity):
        if card.tenant_id == tenant.tenant_id:
            continue
        agent = world.fleet.by_id.get(card.agent_id)
        if agent is None:
            continue
        if pinned in (None, card.agent_id):
            obstacle = pool_obstacle(call, agent, world, operator_run=card.operator_run)
        else:
            obstacle = Reason.PINNED_ELSEWHERE, f"an administrator pinned these calls to {pinned}"
        if obstacle is None and agent.engine is not None:
            running = on_it(agent.engine, world.in_flight.get(agent.agent_id, 0))
            fit.append((agent, running / max(agent.engine.max_running_calls, 1), card))
            if len(fit) >= MOST_COMPARED:
                break
        elif obstacle is not None and len(left_out) < MOST_LEFT_OUT:
            left_out.append(_left_out(agent, offer, *obstacle))
    if not fit:
        return [], left_out
    bound = LOAD_BOUND * sum(load for _, load, _ in fit) / len(fit)

    def preference(place: int) -> tuple[bool, bool, float]:
        agent, load, _ = fit[place]
        allowed = bound + (1 / max(agent.engine.max_running_calls, 1) if agent.engine else 0)
        over = load > allowed
        # Within the bound the ring's order stands; beyond it the least loaded is the best of them.
        return agent.liveness is not Liveness.LIVE, over, load if over else float(place)

    chosen = [fit[place] for place in sorted(range(len(fit)), key=preference)[:MOST_SEATS]]
    return [
        make(agent, agent.engine.served_name, load, offer, card)
        for agent, load, card in chosen
        if agent.engine is not None
    ], left_out


def any_seat(
    agent: AgentView, served_name: str, load: float, offer: PoolOffer, card: PoolCard
) -> OperatorCard | ThirdPartyCard:
    kind = OperatorCard if card.operator_run else ThirdPartyCard
    return kind(agent, served_name, load, offer, card)


def _left_out(agent: AgentView, offer: PoolOffer, reason: Reason, words: str) -> LeftOut:
    return LeftOut(Tier.POOL, reason, words, agent.agent_id, agent.name, offer.pool_name)
