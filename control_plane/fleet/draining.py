"""What to ask so that an agent's engine is drained exactly while that is wanted. Pure.

The agent keeps its answer over restarts, but a deployment takes calls again: so this is looked at with each
sample. An engine that still loads is asked once it is ready; the router leaves it out meanwhile.
"""

import enum

from daalu_wire.v1 import agent_pb2


class Ask(enum.Enum):
    DRAIN = enum.auto()
    RESUME = enum.auto()


def ask(phase: agent_pb2.EnginePhase.ValueType, *, drained: bool) -> Ask | None:
    """`drained`: what is wanted; `phase`: what the agent last said. None: they agree, or nothing serves."""
    if drained and phase == agent_pb2.ENGINE_PHASE_READY:
        return Ask.DRAIN
    if not drained and phase == agent_pb2.ENGINE_PHASE_DRAINING:
        return Ask.RESUME
    return None
