"""What holds of every plan, whatever the world."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.economy import (
    CardRing,
    ExternalPolicy,
    Pin,
    PlanTerms,
    PoolCard,
    PriceTerms,
    Role,
    RoleFacts,
    TenantEconomy,
)
from control_plane.economy.index import offers
from control_plane.economy.queries import Economy
from control_plane.economy.terms import PoolEconomy, PoolRight
from control_plane.fleet import AgentView, EngineView, FleetView, Health, Liveness
from control_plane.identifiers import AgentId, PlanId, PoolId, TenantId
from control_plane.router import (
    AtVendor,
    CallFacts,
    CodingCall,
    GeneralCall,
    OperatorCard,
    OwnCard,
    Reason,
    TenantFacts,
    ThirdPartyCard,
    World,
    plan,
    reasons_in_words,
    serves,
)
from control_plane.router.seats import MOST_SEATS
from control_plane.store.economy_tables import Billing, Overage, PoolKind, TrustPolicy
from control_plane.store.tables import Tier
from control_plane.vendors import VendorModel

US, OPERATOR = TenantId("ten-us"), TenantId("ten-operator")
OTHERS = TenantId("ten-b"), TenantId("ten-c")
PRICE = PriceTerms(1, 2, 1)
# Of a vendor.
MOST_OUTPUT = 150
K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True)
class Case:
    """A tenant, its economy and the world, as one call meets them."""

    economy: Economy
    world: World
    call: GeneralCall
    pin: Pin | None

    @property
    def ours(self) -> TenantEconomy:
        return self.economy.tenants[US]

    @property
    def tenant(self) -> TenantFacts:
        return TenantFacts(US, offers(self.economy, US, "tiny", 1), self.ours.external, self.pin)

    @property
    def coding(self) -> CodingCall:
        return CodingCall(*(getattr(self.call, field.name) for field in fields(CallFacts)))


ENGINES = st.builds(
    EngineView,
    model_id=st.sampled_from(["tiny-id", "tiny-id", "tiny-id", "other-id"]),
    served_name=st.sampled_from(["tiny", "tiny", "tiny", "other"]),
    ready=st.sampled_from([True, True, True, False]),
    draining=st.sampled_from([False, False, False, True]),
    context_tokens=st.sampled_from([64, 8_192]),
    running_calls=st.integers(0, 5),
    waiting_calls=st.sampled_from([0, 0, 0, 1, 8, 40]),
    max_running_calls=st.integers(1, 6),
    detail=st.just(""),
)
LIVENESS = st.sampled_from([Liveness.LIVE, Liveness.LIVE, Liveness.LIVE, *Liveness])
HEALTH = st.sampled_from([Health.GOOD, Health.GOOD, Health.GOOD, *Health])


@st.composite
def agents(draw: st.DrawFn) -> list[AgentView]:
    return [
        AgentView(
            agent_id=AgentId(f"agt-{number}"),
            tenant_id=draw(st.sampled_from([US, OPERATOR, *OTHERS])),
            name=f"name-{number}-of-its-owner",
            host="127.0.0.1",
            engine_port=1,
            liveness=draw(LIVENESS),
            engine=draw(st.none() | ENGINES) if draw(st.booleans()) else draw(ENGINES),
            simulated=True,
            health=draw(HEALTH),
        )
        for number in range(draw(st.integers(0, 14)))
    ]


def terms(overage: Overage) -> PlanTerms:
    return PlanTerms(PlanId("plan"), "team", 1_000, 60, 1_000, 4, 64, overage, Billing.INVOICED)


def pool(pool_id: str, kind: PoolKind, cards: list[PoolCard], *, priced: bool) -> PoolEconomy:
    operators = tuple(card for card in cards if card.operator_run)
    return PoolEconomy(
        pool_id=PoolId(pool_id),
        name=pool_id,
        kind=kind,
        cards=CardRing(tuple(cards) if kind is PoolKind.PROVIDER else operators),
        operator_cards=CardRing(operators),
        prices={"tiny": ((0, PRICE),)} if priced else {},
        shares=((0, 7_000),),
    )


@st.composite
def cases(draw: st.DrawFn, *, pinned: bool = False) -> Case:
    fleet = draw(agents())
    # A card is in one pool at a time, or in none.
    places: dict[str, list[PoolCard]] = {"hosted": [], "shared": [], "none": []}
    for agent in fleet:
        card = PoolCard(agent.agent_id, agent.tenant_id, agent.tenant_id == OPERATOR)
        places[draw(st.sampled_from(["hosted", "shared", "shared", "none"]))].append(card)
    economy = Economy(
        {US: _us(draw)},
        {
            PoolId(name): pool(name, kind, places[name], priced=draw(st.sampled_from([True, True, False])))
            for name, kind in (("hosted", PoolKind.HOSTED), ("shared", PoolKind.PROVIDER))
        },
    )
    some = st.sets(st.sampled_from(fleet)) if fleet else st.just(set())
    world = World(
        _fleet_view(fleet),
        {agent.agent_id: draw(st.integers(0, 3)) for agent in draw(some)},
        draw(st.sampled_from([frozenset(), frozenset({"vendor-0"})]))
        | frozenset(agent.agent_id for agent in (draw(some) if draw(st.booleans()) else ())),
        draw(st.sampled_from([frozenset({"tiny-id"}), frozenset()])),
        tuple(
            VendorModel(f"vendor-{number}", "tiny", "theirs", context, MOST_OUTPUT, PRICE)
            for number, context in enumerate(draw(st.lists(st.sampled_from([64, 8_192]), max_size=2)))
        ),
    )
    call = GeneralCall(
        draw(st.sampled_from(["tiny", "tiny", "tiny-id", "other", "unknown"])),
        draw(st.sampled_from([0, 100, 10_000])),
        draw(st.none() | st.integers(0, 200)),
        text_only=draw(st.sampled_from([True, True, True, False])),
        countable=draw(st.sampled_from([True, True, True, False])),
        affinity=draw(st.integers(0, 2**32 - 1)),
    )
    return Case(economy, world, call, draw(_pins(fleet)) if pinned else None)


def _us(draw: st.DrawFn) -> TenantEconomy:
    rights = tuple(
        PoolRight(PoolId(name), terms(draw(st.sampled_from(Overage))), draw(st.booleans()))
        for name in draw(st.sampled_from([(), ("hosted",), ("shared",), ("hosted", "shared")]))
    )
    external = ExternalPolicy(draw(st.booleans()), draw(st.sampled_from([0, 1_000])))
    trust = draw(st.sampled_from(TrustPolicy))
    return TenantEconomy(US, RoleFacts(), Role.NONE, False, trust, external, rights)


def _pins(fleet: list[AgentView]) -> st.SearchStrategy[Pin]:
    ours = [AgentId(agent.agent_id) for agent in fleet if agent.tenant_id == US]
    theirs = [AgentId(agent.agent_id) for agent in fleet if agent.tenant_id != US]
    pools = st.none() | st.sampled_from([PoolId("hosted"), PoolId("shared")])
    own, lent = st.sampled_from([None, *ours]), st.sampled_from([None, *theirs])
    return st.one_of(
        st.just(Pin("tiny", None, Tier.EXTERNAL)),
        own.map(lambda agent: Pin("tiny", None, Tier.OWN, None, agent)),
        st.tuples(pools, lent).map(lambda place: Pin("tiny", None, Tier.POOL, *place)),
    )


def _fleet_view(fleet: list[AgentView]) -> FleetView:
    by_tenant: dict[TenantId, tuple[AgentView, ...]] = {}
    for agent in fleet:
        by_tenant[agent.tenant_id] = (*by_tenant.get(agent.tenant_id, ()), agent)
    return FleetView({agent.agent_id: agent for agent in fleet}, by_tenant)


def takes(agent: AgentView, call: CallFacts, world: World) -> bool:
    """Whether this agent may be sent the call at all, said in one breath."""
    engine = agent.engine
    return (
        engine is not None
        and serves(engine, call.model)
        and agent.liveness in (Liveness.LIVE, Liveness.SUSPECT)
        and engine.ready
        and not engine.draining
        and call.text_only
        and call.prompt_characters // 16 + (call.max_tokens or 1) <= engine.context_tokens
        and agent.agent_id not in world.broken
    )


def has_room_for_the_pool(agent: AgentView, world: World) -> bool:
    engine = agent.engine
    assert engine is not None
    busy = max(engine.running_calls, world.in_flight.get(agent.agent_id, 0))
    room = not engine.waiting_calls and busy < engine.max_running_calls
    return room and agent.health is not Health.CRITICAL


def counted(agent: AgentView, case: Case) -> bool:
    return case.call.countable and agent.engine is not None and agent.engine.model_id in case.world.countable


@given(cases())
def test_a_coding_call_stays_on_own_and_operator_cards_whatever_is_offered(case: Case) -> None:
    for candidate in plan(case.coding, case.tenant, case.world).candidates:
        # Told apart by whose they are, not by what the plan calls them.
        assert candidate.agent.tenant_id in (US, OPERATOR)
        assert isinstance(candidate, OwnCard) is (candidate.agent.tenant_id == US)


@given(cases())
def test_own_cards_come_before_pools_and_those_before_vendors(case: Case) -> None:
    order = [Tier.OWN, Tier.POOL, Tier.EXTERNAL]
    tiers = [order.index(candidate.tier) for candidate in plan(case.call, case.tenant, case.world).candidates]
    assert tiers == sorted(tiers)


@given(cases(pinned=True))
def test_every_own_card_is_either_a_candidate_or_left_out_once(case: Case) -> None:
    for call in (case.call, case.coding):
        made = plan(call, case.tenant, case.world)
        named = [one.agent.agent_id for one in made.candidates if isinstance(one, OwnCard)]
        named += [left.agent_id for left in made.left_out if left.tier is Tier.OWN and left.agent_id]
        assert sorted(named) == sorted(agent.agent_id for agent in case.world.fleet.by_tenant.get(US, ()))


@given(cases())
def test_an_own_card_is_a_candidate_exactly_where_it_takes_the_call(case: Case) -> None:
    made = plan(case.call, case.tenant, case.world)
    named = {one.agent.agent_id for one in made.candidates if isinstance(one, OwnCard)}
    full = {left.agent_id for left in made.left_out if left.reason is Reason.QUEUE_FULL}
    fit = {
        agent.agent_id
        for agent in case.world.fleet.by_tenant.get(US, ())
        if takes(agent, case.call, case.world)
    }
    assert named == fit - full


@given(cases())
def test_no_pool_candidate_is_unfit_unhealthy_full_or_the_tenants_own(case: Case) -> None:
    for call in (case.call, case.coding):
        for candidate in plan(call, case.tenant, case.world).candidates:
            if isinstance(candidate, OperatorCard | ThirdPartyCard):
                agent = candidate.agent
                assert takes(agent, call, case.world)
                assert has_room_for_the_pool(agent, case.world)
                assert agent.tenant_id != US
                assert candidate.card.agent_id == agent.agent_id
                assert candidate.card in candidate.offer.cards.cards


@given(cases())
def test_a_third_partys_card_needs_the_tenants_trust_and_a_model_that_is_counted(case: Case) -> None:
    for candidate in plan(case.call, case.tenant, case.world).candidates:
        assert isinstance(candidate, ThirdPartyCard) is (
            not isinstance(candidate, AtVendor) and candidate.agent.tenant_id in OTHERS
        )
        if isinstance(candidate, ThirdPartyCard):
            assert case.ours.trust is TrustPolicy.ANY_POOL_CARD
            assert case.call.countable
            assert candidate.agent.engine is not None
            assert candidate.agent.engine.model_id in case.world.countable


@given(cases())
def test_a_vendor_needs_the_policy_a_cap_and_no_plan_that_stops(case: Case) -> None:
    made = plan(case.call, case.tenant, case.world)
    if any(candidate.tier is Tier.EXTERNAL for candidate in made.candidates):
        policy = case.ours.external
        assert policy.allowed
        assert policy.monthly_cap_micro_usd > 0
        assert all(offer.plan.overage is Overage.EXTERNAL for offer in case.tenant.offers.usable)


@given(cases())
def test_where_a_vendor_is_allowed_each_that_fits_is_a_candidate_in_the_operators_order(case: Case) -> None:
    plans_allow = all(offer.plan.overage is Overage.EXTERNAL for offer in case.tenant.offers.usable)
    allowed = case.ours.external.allowed and case.ours.external.monthly_cap_micro_usd > 0 and plans_allow
    needed = case.call.prompt_characters // 16 + (case.call.max_tokens or 1)
    fit = [
        vendor
        for vendor in case.world.vendors
        if needed <= vendor.context_tokens
        and (case.call.max_tokens or 0) <= MOST_OUTPUT
        and vendor.vendor not in case.world.broken
        and case.call.text_only
    ]
    made = plan(case.call, case.tenant, case.world)
    assert [one.model for one in made.candidates if isinstance(one, AtVendor)] == (fit if allowed else [])


@given(cases())
def test_a_usable_pool_with_a_fit_card_has_a_seat_and_never_too_many(case: Case) -> None:
    made = plan(case.call, case.tenant, case.world)
    for offer in case.tenant.offers.usable:
        seats = [
            one
            for one in made.candidates
            if isinstance(one, OperatorCard | ThirdPartyCard) and one.offer.pool_id == offer.pool_id
        ]
        fit = [
            card
            for card in offer.cards.cards
            if card.tenant_id != US
            and takes(agent := case.world.fleet.by_id[card.agent_id], case.call, case.world)
            and has_room_for_the_pool(agent, case.world)
            and (card.operator_run or counted(agent, case))
        ]
        assert len(seats) == min(MOST_SEATS, len(fit))
        assert len({seat.agent.agent_id for seat in seats}) == len(seats)


@given(cases(pinned=True))
def test_a_pin_is_obeyed_and_never_widens_a_plan(case: Case) -> None:
    assert case.pin is not None
    free = {_name(one) for one in plan(case.call, replace(case.tenant, pin=None), case.world).candidates}
    made = plan(case.call, case.tenant, case.world)
    for candidate in made.candidates:
        assert candidate.tier is case.pin.tier
        if case.pin.agent_id is not None:
            assert not isinstance(candidate, AtVendor)
            assert candidate.agent.agent_id == case.pin.agent_id
        else:
            assert _name(candidate) in free


@given(cases(pinned=True))
def test_a_pinned_card_that_can_serve_is_the_candidate_however_many_others_could(case: Case) -> None:
    pin = case.pin
    assert pin is not None
    if pin.tier is not Tier.POOL or pin.agent_id is None:
        return
    # Alone in the world it would have a seat; the others must not cost it that.
    alone = replace(case.world, fleet=_fleet_view([case.world.fleet.by_id[pin.agent_id]]))
    expected = {_name(one) for one in plan(case.call, case.tenant, alone).candidates}
    assert {_name(one) for one in plan(case.call, case.tenant, case.world).candidates} == expected


def _name(candidate: object) -> str:
    assert isinstance(candidate, OwnCard | OperatorCard | ThirdPartyCard | AtVendor)
    return candidate.model.vendor if isinstance(candidate, AtVendor) else candidate.agent.agent_id


@given(cases(pinned=True))
def test_the_same_facts_make_the_same_plan(case: Case) -> None:
    assert plan(case.call, case.tenant, case.world) == plan(case.call, case.tenant, case.world)
    assert plan(case.coding, case.tenant, case.world) == plan(case.coding, case.tenant, case.world)


@given(cases())
def test_a_client_is_never_told_the_name_of_another_tenants_card(case: Case) -> None:
    told = reasons_in_words(plan(case.call, case.tenant, case.world))
    for agent in case.world.fleet.by_id.values():
        assert agent.tenant_id == US or agent.name not in told


class _Unwalkable(Mapping[K, V]):
    """The fleet, of which single agents may be asked for."""

    def __init__(self, real: Mapping[K, V]) -> None:
        self._real = real

    def __getitem__(self, key: K) -> V:
        return self._real[key]

    def __iter__(self) -> Iterator[K]:
        raise AssertionError("the plan walked over the whole fleet")

    def __len__(self) -> int:
        return 10_000


@settings(max_examples=50)
@given(cases(pinned=True))
def test_a_plan_never_walks_over_the_whole_fleet(case: Case) -> None:
    fleet = case.world.fleet
    guarded = FleetView(_Unwalkable(fleet.by_id), _Unwalkable(fleet.by_tenant))
    world = replace(case.world, fleet=guarded)
    assert plan(case.call, case.tenant, world) == plan(case.call, case.tenant, case.world)
    assert plan(case.coding, case.tenant, world) == plan(case.coding, case.tenant, case.world)
