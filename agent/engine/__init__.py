"""The engine: the vLLM server that this agent starts, watches, and leaves running when it restarts itself.

What should run is a *model*: an entry of the agent's own *catalogue*, named by id and *digest*. What does run
is known by pid, start time and boot, so that a restarted daemon adopts it. The *gate* is our part inside the
engine's process; it admits calls with a ticket and writes a *receipt* of each to the *journal*, which this
room reads and the control plane collects.
"""

from agent.engine.behind import EngineBehind, left_behind
from agent.engine.catalogue import InvalidEntry, NotInCatalogue
from agent.engine.client import EngineSilent
from agent.engine.engine import Engine, EngineInUse, EngineSettings
from agent.engine.launch import has_card

__all__ = [
    "Engine",
    "EngineBehind",
    "EngineInUse",
    "EngineSettings",
    "EngineSilent",
    "InvalidEntry",
    "NotInCatalogue",
    "has_card",
    "left_behind",
]
