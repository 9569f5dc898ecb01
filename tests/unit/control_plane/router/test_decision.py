"""The decision record."""

import json

from control_plane.fleet import Liveness
from control_plane.identifiers import AgentId, AttemptId
from control_plane.router import (
    AttemptEnd,
    GeneralCall,
    TenantFacts,
    World,
    decision_json,
    plan,
    reasons_in_words,
)
from control_plane.router.decision import MOST_LISTED
from tests.support.gateway import TENANT, agent_view, fleet_view

CALL = GeneralCall("tiny", 0, None)


def test_a_decision_says_who_was_planned_who_was_not_and_what_became_of_it() -> None:
    made = plan(CALL, TenantFacts(TENANT), World(fleet_view(agent_view("a"), agent_view("b", engine=None))))
    end = AttemptEnd(AttemptId("att-1"), AgentId("agt-a"), "connection_lost", 12.34)
    assert json.loads(decision_json(made, [end])) == {
        "v": 1,
        "candidates": [{"tier": "own", "agent_id": "agt-a", "agent": "a", "load": 0.0, "liveness": "live"}],
        "left_out": [
            {
                "tier": "own",
                "agent_id": "agt-b",
                "agent": "b",
                "code": "no_engine",
                "words": "it serves no model",
            }
        ],
        "attempts": [
            {"attempt_id": "att-1", "agent_id": "agt-a", "error": "connection_lost", "duration_ms": 12.3}
        ],
    }


def test_a_decision_over_very_many_cards_stays_small_and_says_so() -> None:
    made = plan(CALL, TenantFacts(TENANT), World(fleet_view(*(agent_view(f"a{n}") for n in range(60)))))
    record = json.loads(decision_json(made))
    assert (len(record["candidates"]), record["unlisted"]) == (MOST_LISTED, 60 - MOST_LISTED)


def test_reasons_are_one_line_however_many_there_are() -> None:
    agents = [agent_view(f"a{n}", liveness=Liveness.OUT) for n in range(9)]
    words = reasons_in_words(plan(CALL, TenantFacts(TENANT), World(fleet_view(*agents))))
    assert words.startswith("a0: it has not been heard of")
    assert words.endswith("and 4 more")
    assert (
        reasons_in_words(plan(CALL, TenantFacts(TENANT), World(fleet_view())))
        == "no card is enrolled for this tenant"
    )
