"""What the fleet tells whoever keeps its history."""

from typing import Protocol

from daalu_wire.v1 import agent_pb2

from control_plane.fleet.facts import AgentFacts
from control_plane.fleet.health_rules import Health
from control_plane.fleet.view import Liveness


class Record(Protocol):
    """Called on the event loop: nothing of it may block or raise. Times are by this host's clock."""

    def sampled(self, facts: AgentFacts, sample: agent_pb2.TelemetrySample, at_unix_ms: int) -> None: ...

    def liveness_changed(self, facts: AgentFacts, liveness: Liveness | None, at_unix_ms: int) -> None:
        """Also when it joins the fleet, as a start of this process makes every agent do; None: it left."""
        ...

    def health_changed(self, facts: AgentFacts, health: Health, words: str, at_unix_ms: int) -> None:
        """`words`: the evidence for what is wrong; empty: nothing is."""
        ...


class NoRecord:
    """For who keeps no history."""

    def sampled(self, facts: AgentFacts, sample: agent_pb2.TelemetrySample, at_unix_ms: int) -> None:
        del facts, sample, at_unix_ms

    def liveness_changed(self, facts: AgentFacts, liveness: Liveness | None, at_unix_ms: int) -> None:
        del facts, liveness, at_unix_ms

    def health_changed(self, facts: AgentFacts, health: Health, words: str, at_unix_ms: int) -> None:
        del facts, health, words, at_unix_ms
