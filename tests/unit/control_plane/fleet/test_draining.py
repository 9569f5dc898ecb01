"""An agent is asked to drain or to resume exactly where it does not do what is wanted."""

import pytest
from daalu_wire.v1 import agent_pb2

from control_plane.fleet.draining import Ask, ask

READY, DRAINING = agent_pb2.ENGINE_PHASE_READY, agent_pb2.ENGINE_PHASE_DRAINING


@pytest.mark.parametrize(
    ("phase", "drained", "expected"),
    [
        (READY, True, Ask.DRAIN),
        (READY, False, None),
        (DRAINING, False, Ask.RESUME),
        (DRAINING, True, None),
    ],
)
def test_only_a_difference_is_asked_for(
    phase: agent_pb2.EnginePhase.ValueType, drained: bool, expected: Ask | None
) -> None:
    assert ask(phase, drained=drained) is expected


@pytest.mark.parametrize("phase", set(agent_pb2.EnginePhase.values()) - {READY, DRAINING})
@pytest.mark.parametrize("drained", [True, False])
def test_an_engine_that_serves_nothing_is_left_alone(
    phase: agent_pb2.EnginePhase.ValueType, drained: bool
) -> None:
    assert ask(phase, drained=drained) is None
