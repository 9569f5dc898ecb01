"""Which cards of one pool a call gets: spare capacity first, then where its prefix lies."""

from dataclasses import replace
from typing import Any

import pytest

from control_plane.economy import CardRing, Offers, Pin, PlanTerms, PoolCard, PoolOffer, PriceTerms
from control_plane.fleet import AgentView, Closed, FleetView, Health, LimitKind, Liveness
from control_plane.identifiers import AgentId, PlanId, PoolId, TenantId
from control_plane.router import (
    AnyCandidate,
    CodingCall,
    GeneralCall,
    LeftOut,
    OperatorCard,
    Plan,
    Reason,
    TenantFacts,
    ThirdPartyCard,
    World,
    plan,
)
from control_plane.router.seats import MOST_COMPARED, MOST_LEFT_OUT, MOST_SEATS, MOST_UNFIT
from control_plane.store.economy_tables import Billing, Overage, PoolKind
from control_plane.store.tables import Tier
from tests.support.gateway import OTHER_TENANT, TENANT, agent_view, engine_view, fleet_view

OPERATOR = TenantId("ten-operator")
TEAM = PlanTerms(PlanId("plan"), "team", 1_000, 60, 1_000, 4, 64, Overage.STOP, Billing.INVOICED)
COUNTABLE = frozenset({"tiny-random-llama"})


def lent(name: str, tenant_id: TenantId = OTHER_TENANT, **changes: Any) -> AgentView:
    return agent_view(name, tenant_id=tenant_id, **changes)


def busy(name: str, calls: int) -> AgentView:
    return lent(name, engine=engine_view(running_calls=calls))


def offer(*agents: AgentView) -> PoolOffer:
    cards = tuple(PoolCard(agent.agent_id, agent.tenant_id, agent.tenant_id == OPERATOR) for agent in agents)
    operators = CardRing(tuple(card for card in cards if card.operator_run))
    return PoolOffer(
        PoolId("pool"), "shared", PoolKind.PROVIDER, TEAM, True, CardRing(cards), operators,
        PriceTerms(1, 2, 1), 7_000,
    )  # fmt: skip


def seats(
    *agents: AgentView, affinity: int = 0, pin: Pin | None = None, in_flight: dict[AgentId, int] | None = None
) -> list[str]:
    tenant = TenantFacts(TENANT, Offers((offer(*agents),)), pin=pin)
    made = plan(
        GeneralCall("tiny", 0, None, affinity=affinity),
        tenant,
        World(fleet_view(*agents), in_flight or {}, countable=COUNTABLE),
    )
    return [one.agent.name for one in made.candidates if isinstance(one, OperatorCard | ThirdPartyCard)]


def walk(*agents: AgentView, affinity: int) -> list[str]:
    """The names in the ring's order."""
    names = {agent.agent_id: agent.name for agent in agents}
    return [names[card.agent_id] for card in offer(*agents).cards.walk(affinity)]


@pytest.mark.parametrize("affinity", [0, 1 << 30, 1 << 31, (1 << 32) - 1])
def test_idle_cards_are_taken_in_the_order_of_the_ring(affinity: int) -> None:
    cards = [lent(f"card-{number}") for number in range(6)]
    assert seats(*cards, affinity=affinity) == walk(*cards, affinity=affinity)[:MOST_SEATS]


@pytest.mark.parametrize("affinity", [0, 1 << 30, 1 << 31])
def test_a_card_that_is_clearly_busier_loses_its_place_however_near_the_prefix(affinity: int) -> None:
    cards = [lent(f"card-{number}") for number in range(4)]
    nearest = walk(*cards, affinity=affinity)[0]
    cards = [busy(card.name, 8) if card.name == nearest else card for card in cards]
    assert nearest not in seats(*cards, affinity=affinity)


def test_a_card_that_is_a_little_busier_keeps_its_place() -> None:
    cards = [busy(f"card-{number}", 4) for number in range(4)]
    nearest = walk(*cards, affinity=7)[0]
    cards = [busy(card.name, 5) if card.name == nearest else card for card in cards]
    assert seats(*cards, affinity=7)[0] == nearest


def test_equal_prefixes_spread_once_their_card_is_busier_than_its_neighbours() -> None:
    """As calls come in that all begin alike, none of them is sent to a card far above the mean."""
    cards = [lent(f"card-{number}") for number in range(4)]
    sent = {card.agent_id: 0 for card in cards}
    for _ in range(40):
        first = seats(*cards, affinity=99, in_flight=sent)[0]
        sent[AgentId(f"agt-{first}")] += 1
        mean = sum(sent.values()) / len(sent)
        assert max(sent.values()) <= 1.25 * mean + 2
    assert len([calls for calls in sent.values() if calls]) >= 3


def test_what_was_sent_since_the_last_sample_counts_as_load() -> None:
    cards = [lent(f"card-{number}") for number in range(3)]
    nearest = AgentId(f"agt-{walk(*cards, affinity=5)[0]}")
    assert f"agt-{seats(*cards, affinity=5, in_flight={nearest: 9})[0]}" != nearest


def test_a_suspect_card_comes_after_every_live_one() -> None:
    cards = [lent(f"card-{number}") for number in range(3)]
    nearest = walk(*cards, affinity=5)[0]
    cards = [replace(card, liveness=Liveness.SUSPECT) if card.name == nearest else card for card in cards]
    assert seats(*cards, affinity=5)[-1] == nearest


def test_only_a_few_of_a_large_pools_cards_are_compared() -> None:
    cards = [lent(f"card-{number}") for number in range(50)]
    nearest = walk(*cards, affinity=5)[:MOST_COMPARED]
    # All but those that are compared are idle: they are not looked at.
    cards = [busy(card.name, 3) if card.name in nearest else card for card in cards]
    assert set(seats(*cards, affinity=5)) < set(nearest)


@pytest.mark.parametrize("number", range(12))
def test_a_pinned_card_has_its_seat_however_many_others_could_serve(number: int) -> None:
    cards = [lent(f"card-{each}") for each in range(12)]
    pin = Pin("tiny", None, Tier.POOL, None, AgentId(f"agt-card-{number}"))
    assert seats(*cards, pin=pin) == [f"card-{number}"]


def left_out(agent: AgentView, *, operator_run: bool = False, **world: Any) -> LeftOut:
    agent = replace(agent, tenant_id=OPERATOR if operator_run else OTHER_TENANT)
    tenant = TenantFacts(TENANT, Offers((offer(agent),)))
    facts = {"countable": COUNTABLE} | world
    made = plan(GeneralCall("tiny", 0, None), tenant, World(fleet_view(agent), **facts))
    assert made.candidates == ()
    # A card's reason comes first; a pool none of whose cards serves the model says so as a whole.
    left, *_ = made.left_out
    return left


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"engine": None}, Reason.NO_ENGINE),
        ({"engine": engine_view(served_name="x", model_id="y")}, Reason.OTHER_MODEL),
        ({"liveness": Liveness.NEVER}, Reason.OUT_OF_REACH),
        ({"liveness": Liveness.OUT}, Reason.OUT_OF_REACH),
        ({"engine": engine_view(ready=False)}, Reason.NOT_READY),
        ({"engine": engine_view(draining=True)}, Reason.DRAINING),
        ({"engine": engine_view(context_tokens=0)}, Reason.CONTEXT_TOO_SMALL),
        ({"drained": True}, Reason.DRAINING),
        ({"health": Health.CRITICAL}, Reason.UNHEALTHY),
        ({"pool_paused": True}, Reason.POOL_PAUSED),
        ({"pool_closed": Closed(LimitKind.HOURS, "not now")}, Reason.OUTSIDE_POOL_HOURS),
        ({"pool_closed": Closed(LimitKind.TEMPERATURE, "too warm")}, Reason.OVER_POOL_LIMIT),
        ({"pool_closed": Closed(LimitKind.POWER, "too much")}, Reason.OVER_POOL_LIMIT),
        ({"engine": engine_view(running_calls=16)}, Reason.NO_ROOM),
        # Somebody waits: spare capacity is what nobody waits for.
        ({"engine": engine_view(waiting_calls=1)}, Reason.NO_ROOM),
        ({"engine": engine_view(model_id="not-counted")}, Reason.UNCOUNTABLE),
    ],
)
def test_a_pools_card_that_cannot_serve_is_left_out_with_a_reason(
    changes: dict[str, Any], expected: Reason
) -> None:
    left = left_out(lent("card", **changes))
    assert (left.tier, left.reason, left.pool_name) == (Tier.POOL, expected, "shared")
    assert left.words


def test_a_card_that_just_failed_or_just_filled_up_is_left_out() -> None:
    card = lent("card")
    assert left_out(card, broken=frozenset({card.agent_id})).reason is Reason.BREAKER_OPEN
    assert left_out(card, in_flight={card.agent_id: 16}).reason is Reason.NO_ROOM


def test_a_call_that_cannot_be_counted_goes_to_no_third_partys_card() -> None:
    theirs, operators = lent("theirs"), lent("operators", OPERATOR)
    tenant = TenantFacts(TENANT, Offers((offer(theirs, operators),)))
    world = World(fleet_view(theirs, operators), countable=COUNTABLE)
    made = plan(GeneralCall("tiny", 0, None, countable=False), tenant, world)
    assert [one.tier for one in made.candidates] == [Tier.POOL]
    assert isinstance(made.candidates[0], OperatorCard)
    assert [left.reason for left in made.left_out] == [Reason.UNCOUNTABLE]


def test_an_operators_card_needs_no_tokenizer() -> None:
    card = lent("card", OPERATOR, engine=engine_view(model_id="not-counted"))
    assert seats(card) == ["card"]


def test_a_coding_call_where_a_pool_has_lent_cards_only_is_told_so() -> None:
    card = lent("card")
    tenant = TenantFacts(TENANT, Offers((offer(card),)))
    made = plan(CodingCall("tiny", 0, None), tenant, World(fleet_view(card), countable=COUNTABLE))
    assert [(left.reason, left.agent_id) for left in made.left_out] == [(Reason.UNTRUSTED_CARDS, None)]


def test_the_reasons_that_are_kept_of_a_large_pool_are_few() -> None:
    cards = [busy(f"card-{number}", 16) for number in range(100)]
    tenant = TenantFacts(TENANT, Offers((offer(*cards),)))
    made = plan(GeneralCall("tiny", 0, None), tenant, World(fleet_view(*cards), countable=COUNTABLE))
    assert (made.candidates, len(made.left_out)) == ((), MOST_LEFT_OUT)


def test_a_card_that_has_left_the_fleet_is_passed_over() -> None:
    here, gone = lent("here"), lent("gone")
    tenant = TenantFacts(TENANT, Offers((offer(here, gone),)))
    made = plan(GeneralCall("tiny", 0, None), tenant, World(fleet_view(here), countable=COUNTABLE))
    assert len(made.candidates) == 1


def test_the_search_in_a_full_pool_is_given_up_and_a_rare_models_is_not() -> None:
    full = [busy(f"full-{number}", 16) for number in range(MOST_UNFIT * 2)]
    looked_at: list[AgentId] = []

    class Watched(dict[AgentId, AgentView]):
        def get(self, key: AgentId, default: Any = None) -> Any:
            looked_at.append(key)
            return super().get(key, default)

    def made(agents: list[AgentView]) -> Plan[AnyCandidate]:
        view = FleetView(Watched({agent.agent_id: agent for agent in agents}))
        tenant = TenantFacts(TENANT, Offers((offer(*agents),)))
        return plan(GeneralCall("tiny", 0, None), tenant, World(view, countable=COUNTABLE))

    assert not made(full).candidates
    assert len(looked_at) == MOST_UNFIT
    others = [
        lent(f"other-{number}", engine=engine_view(served_name="x", model_id="y"))
        for number in range(MOST_UNFIT * 2)
    ]
    assert len(made([*others, lent("rare")]).candidates) == 1
