"""What a tenant can reach now."""

from control_plane.fleet import Liveness
from control_plane.gateway.models import reachable_models
from tests.support.gateway import OTHER_TENANT, TENANT, agent_view, engine_view, fleet_view


def test_each_model_is_listed_once_with_its_largest_context() -> None:
    small = agent_view("a", engine=engine_view(context_tokens=2048))
    [model] = reachable_models(fleet_view(small, agent_view("b")), TENANT, 7)
    assert model == {
        "id": "tiny",
        "object": "model",
        "created": 7,
        "owned_by": "daalu",
        "max_model_len": 8192,
    }


def test_what_cannot_be_reached_is_not_listed() -> None:
    fleet = fleet_view(
        agent_view("out", liveness=Liveness.OUT),
        agent_view("none", engine=None),
        agent_view("loading", engine=engine_view(ready=False)),
        agent_view("draining", engine=engine_view(draining=True)),
        agent_view("theirs", tenant_id=OTHER_TENANT),
    )
    assert reachable_models(fleet, TENANT, 7) == []
