"""The plan over a tenant's own cards."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from control_plane.fleet import AgentView, Closed, FleetView, Health, LimitKind, Liveness
from control_plane.identifiers import AgentId, TenantId
from control_plane.router import (
    AnyCandidate,
    CodingCall,
    GeneralCall,
    OwnCard,
    Plan,
    Reason,
    TenantFacts,
    World,
    plan,
    unhealthy,
)
from tests.support.gateway import OTHER_TENANT, TENANT, agent_view, engine_view, fleet_view

CALL = GeneralCall(model="tiny", prompt_characters=100, max_tokens=None)
US = TenantFacts(TENANT)


def own(made: Plan[AnyCandidate]) -> list[OwnCard]:
    return [one for one in made.candidates if isinstance(one, OwnCard)]


def names(
    *agents: AgentView, call: GeneralCall = CALL, in_flight: Mapping[AgentId, int] | None = None
) -> list[str]:
    return [one.agent.name for one in own(plan(call, US, World(fleet_view(*agents), in_flight or {})))]


def reason(call: GeneralCall = CALL, **changes: Any) -> Reason:
    made = plan(call, US, World(fleet_view(agent_view("one", **changes))))
    assert made.candidates == ()
    [left] = made.left_out
    assert left.words
    return left.reason


def test_the_least_loaded_card_comes_first() -> None:
    busy = agent_view("a-busy", engine=engine_view(running_calls=8))
    idle = agent_view("b-idle")
    small = agent_view("c-small", engine=engine_view(running_calls=3, max_running_calls=4))
    assert names(busy, idle, small) == ["b-idle", "a-busy", "c-small"]


def test_a_suspect_agent_comes_after_every_live_one() -> None:
    suspect = agent_view("a", liveness=Liveness.SUSPECT)
    busy = agent_view("b", engine=engine_view(running_calls=16, waiting_calls=3))
    assert names(suspect, busy) == ["b", "a"]


def test_what_was_sent_since_the_last_sample_counts_as_load() -> None:
    agents = agent_view("a"), agent_view("b")
    assert names(*agents, in_flight={AgentId("agt-a"): 2, AgentId("agt-b"): 1}) == ["b", "a"]


def test_a_model_may_be_asked_for_by_its_catalogue_id() -> None:
    assert names(agent_view("a"), call=GeneralCall("tiny-random-llama", 0, None)) == ["a"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"engine": None}, Reason.NO_ENGINE),
        ({"engine": engine_view(served_name="x", model_id="y")}, Reason.OTHER_MODEL),
        ({"liveness": Liveness.NEVER}, Reason.OUT_OF_REACH),
        ({"liveness": Liveness.OUT}, Reason.OUT_OF_REACH),
        ({"engine": engine_view(ready=False, detail="loading weights")}, Reason.NOT_READY),
        ({"engine": engine_view(draining=True)}, Reason.DRAINING),
        ({"engine": engine_view(waiting_calls=32)}, Reason.QUEUE_FULL),
    ],
)
def test_what_cannot_serve_is_left_out_with_a_reason(changes: dict[str, Any], expected: Reason) -> None:
    assert reason(**changes) is expected


def test_a_queue_just_under_its_limit_still_takes_a_call() -> None:
    assert names(agent_view("a", engine=engine_view(waiting_calls=31))) == ["a"]


def test_what_surely_does_not_fit_the_context_is_left_out_and_what_may_fit_is_not() -> None:
    assert names(agent_view("a"), call=GeneralCall("tiny", 100_000, None)) == ["a"]
    assert names(agent_view("a"), call=GeneralCall("tiny", 0, 8192)) == ["a"]
    assert reason(GeneralCall("tiny", 0, 8193)) is Reason.CONTEXT_TOO_SMALL
    assert reason(GeneralCall("tiny", 16 * 8192, None)) is Reason.CONTEXT_TOO_SMALL


def test_another_tenants_card_is_neither_a_candidate_nor_mentioned() -> None:
    theirs = agent_view("theirs", tenant_id=OTHER_TENANT)
    made = plan(CALL, US, World(fleet_view(theirs)))
    assert (made.candidates, made.left_out, made.model_is_known) == ((), (), False)


def test_a_coding_calls_plan_has_own_cards_only() -> None:
    made = plan(CodingCall("tiny", 0, None), US, World(fleet_view(agent_view("a"))))
    assert [one.tier for one in made.candidates] == ["own"]


def test_a_model_is_known_when_a_card_that_cannot_take_the_call_serves_it() -> None:
    assert plan(CALL, US, World(fleet_view(agent_view("a", liveness=Liveness.OUT)))).model_is_known
    assert not plan(
        CALL, US, World(fleet_view(agent_view("a", engine=engine_view(served_name="x"))))
    ).model_is_known


def test_only_the_context_is_missing_when_every_card_of_the_model_is_too_small() -> None:
    call = GeneralCall("tiny", 0, 9000)
    other = agent_view("b", engine=None)
    assert plan(call, US, World(fleet_view(agent_view("a"), other))).only_context_is_missing
    out = agent_view("c", liveness=Liveness.OUT)
    assert not plan(call, US, World(fleet_view(agent_view("a"), out))).only_context_is_missing


class _Unwalkable(Mapping[AgentId, AgentView]):
    """The rest of the fleet, which nobody may look at."""

    def __getitem__(self, key: AgentId) -> AgentView:
        raise AssertionError("the plan looked at the whole fleet")

    def __iter__(self) -> Iterator[AgentId]:
        raise AssertionError("the plan walked over the whole fleet")

    def __len__(self) -> int:
        return 10_000


def test_the_size_of_the_fleet_costs_a_plan_nothing() -> None:
    own = {TenantId(TENANT): (agent_view("a"),)}
    assert len(plan(CALL, US, World(FleetView(_Unwalkable(), own))).candidates) == 1


def test_a_card_paused_for_pools_still_serves_its_owner_and_a_drained_one_nobody() -> None:
    closed = Closed(LimitKind.HOURS, "not now")
    for changes, served in (({"pool_paused": True}, 1), ({"pool_closed": closed}, 1), ({"drained": True}, 0)):
        own = {TenantId(TENANT): (agent_view("a", **changes),)}
        assert len(plan(CALL, US, World(FleetView({}, own))).candidates) == served


def test_a_critical_card_is_left_out_for_the_pool_with_a_reason() -> None:
    left = unhealthy(agent_view("a", health=Health.CRITICAL))
    assert left is not None
    assert left[0] is Reason.UNHEALTHY
    assert "daalu agents show" in left[1]


@pytest.mark.parametrize("health", [Health.UNKNOWN, Health.GOOD, Health.WARNING])
def test_a_card_that_is_not_critical_may_serve_the_pool(health: Health) -> None:
    assert unhealthy(agent_view("a", health=health)) is None


def test_an_owners_own_call_goes_to_a_critical_card_all_the_same() -> None:
    assert names(agent_view("a", health=Health.CRITICAL)) == ["a"]
