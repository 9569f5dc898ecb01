"""Whether one card would get its own tenant's calls, and why not."""

from typing import Any

import pytest

from control_plane.fleet import AgentView, Health, Liveness
from control_plane.router import World, why_left_out
from tests.support.gateway import OTHER_TENANT, agent_view, engine_view, fleet_view


def _words(*others: AgentView, **changes: Any) -> str | None:
    agent = agent_view("one", **changes)
    return why_left_out(agent, World(fleet_view(agent, *others)))


def test_a_ready_card_is_a_candidate_also_beside_others_and_when_it_is_not_well() -> None:
    assert _words() is None
    assert _words(agent_view("idle"), engine=engine_view(running_calls=8)) is None
    assert _words(health=Health.CRITICAL) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"engine": None}, "serves no model"),
        ({"engine": engine_view(ready=False, detail="loading, 40 %")}, "loading, 40 %"),
        ({"drained": True}, "being drained"),
        ({"liveness": Liveness.OUT}, "not been heard of"),
        ({"engine": engine_view(context_tokens=0)}, "its context has 0"),
    ],
)
def test_what_is_in_the_way_is_said(changes: dict[str, Any], words: str) -> None:
    said = _words(**changes)
    assert said is not None
    assert words in said


def test_a_card_that_the_view_does_not_have_is_no_candidate() -> None:
    agent = agent_view("one")
    assert why_left_out(agent, World(fleet_view())) == "it is none of the tenant's cards"
    other = agent_view("other", tenant_id=OTHER_TENANT)
    assert why_left_out(agent, World(fleet_view(other))) == "it is none of the tenant's cards"
