"""The levels of diagnostics as the control plane runs them. Pure.

0 is the agent's own look over its host. 1 to 3 are NVIDIA's tests, by `dcgmi` on the host; from 2 on they
stress the cards, which are taken from their calls for that.
"""

from dataclasses import dataclass

from daalu_wire.v1 import agent_pb2

from control_plane.access import Invalid

MAX_LEVEL = 3
FIRST_STRESSFUL = 2
# A little more than the agent itself waits for each; for 0, than every check's own deadline together takes,
# but for a host on which everything hangs.
LIMIT_S = {0: 120.0, 1: 330.0, 2: 960.0, 3: 3_660.0}
# For the calls on the card to end, and for its engine to be gone.
DRAIN_LIMIT_S = 300.0
STOP_LIMIT_S = 150.0


@dataclass(frozen=True, slots=True)
class Offer:
    """A level, and whether an agent's host can run it now."""

    level: int
    stressful: bool
    limit_s: float
    # Why it cannot be run there, and what to do; None: it can.
    refusal: str | None


def is_stressful(level: int) -> bool:
    return level >= FIRST_STRESSFUL


def check_wanted(level: int, *, acknowledged: bool) -> None:
    """Raises Invalid."""
    if not 0 <= level <= MAX_LEVEL:
        raise Invalid(f"diagnostics have levels 0 to {MAX_LEVEL}")
    if is_stressful(level) and not acknowledged:
        raise Invalid(
            f"level {level} stresses the cards: calls are turned away, the engine is stopped, and both come"
            " back afterwards. Say that you know it (acknowledge_stress, --yes)"
        )


def has_no_calls(engine: agent_pb2.EngineSample) -> bool:
    """Whether a drained engine may be stopped. One that serves must have said that it turns calls away.

    Its figures may be a second old; the stop itself waits for a call that slipped in.
    """
    if engine.phase == agent_pb2.ENGINE_PHASE_READY:
        return False
    if engine.phase == agent_pb2.ENGINE_PHASE_DRAINING:
        return not engine.running_calls and not engine.waiting_calls
    return True
