"""What a load test measured limits an own card's queue, for the model that it was made with."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from control_plane.fleet.load_test import MeasuredLimit
from control_plane.identifiers import AgentId
from control_plane.router import GeneralCall, TenantFacts, World, plan
from control_plane.router.candidates import LeftOut, Reason
from tests.support.gateway import TENANT, agent_view, engine_view, fleet_view

CALL = GeneralCall("tiny", 10, 10)
KNEE = MeasuredLimit("tiny-random-llama", 10, "load-1")


def _left_out(running_calls: int, limit: MeasuredLimit | None, *, measuring: bool = False) -> list[LeftOut]:
    agent = agent_view("a", engine=engine_view(running_calls=running_calls, max_running_calls=256))
    measured: Mapping[AgentId, MeasuredLimit] = {agent.agent_id: limit} if limit is not None else {}
    world = World(fleet_view(agent), measured=measured, measuring=measuring)
    made = plan(CALL, TenantFacts(TENANT), world)
    return [left for left in made.left_out if left.agent_id == agent.agent_id]


def test_twice_the_knee_is_the_most_and_the_reason_names_the_load_test() -> None:
    assert _left_out(19, KNEE) == []
    (left,) = _left_out(20, KNEE)
    assert left.reason is Reason.QUEUE_FULL
    assert "load-1" in left.words
    assert "knee at 10" in left.words


@pytest.mark.parametrize(("running_calls", "taken"), [(8, True), (9, False)])
def test_eight_may_wait_however_low_the_knee_is(running_calls: int, taken: bool) -> None:
    assert (_left_out(running_calls, replace(KNEE, concurrency=1)) == []) is taken


def test_a_limit_of_another_model_does_not_hold() -> None:
    assert _left_out(200, replace(KNEE, model_id="another")) == []


def test_no_limit_of_the_queue_turns_a_load_test_away() -> None:
    assert _left_out(200, KNEE, measuring=True) == []
