"""What is in flight: which connections carry answers of which agent, so that they can be ended at once."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from control_plane.gateway.connection import Connection, Fault, UpstreamFailed
from control_plane.identifiers import AgentId

REVOKED = "revoked"


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    connection: Connection
    lease: int
    streamed: bool


class InFlight:
    def __init__(self, recent_byte_s: float) -> None:
        self._recent_byte_s = recent_byte_s
        self._answers: dict[AgentId, set[_Answer]] = {}
        self._counts: dict[AgentId, int] = {}

    @property
    def counts(self) -> Mapping[AgentId, int]:
        """Calls sent to each agent and not ended; agents with none are absent."""
        return self._counts

    @property
    def carrying(self) -> frozenset[AgentId]:
        """Agents that an answer is coming from."""
        return frozenset(self._answers)

    @contextmanager
    def counted(self, agent_id: AgentId) -> Iterator[None]:
        """Counts a call from the moment at which its card is chosen."""
        self._counts[agent_id] = self._counts.get(agent_id, 0) + 1
        try:
            yield
        finally:
            self._counts[agent_id] -= 1
            if not self._counts[agent_id]:
                del self._counts[agent_id]

    @contextmanager
    def carried(self, agent_id: AgentId, connection: Connection, *, streamed: bool) -> Iterator[None]:
        answer = _Answer(connection, connection.lease, streamed)
        answers = self._answers.setdefault(agent_id, set())
        answers.add(answer)
        try:
            yield
        finally:
            answers.discard(answer)
            if not answers and self._answers.get(agent_id) is answers:
                del self._answers[agent_id]

    def cut(self, agent_id: AgentId, reason: str) -> int:
        """Ends the agent's answers: all of them if it was revoked; else the streams whose last byte is not
        recent, since a daemon can be silent while its engine works. A whole answer is silent until it is
        there; the connection's keepalive says when its host is gone. Returns how many were ended."""
        failure = UpstreamFailed(Fault.CUT, f"the card's host was lost ({reason})")
        oldest = asyncio.get_running_loop().time() - self._recent_byte_s
        ended = [
            answer
            for answer in self._answers.get(agent_id, ())
            if reason == REVOKED or (answer.streamed and answer.connection.last_byte_at <= oldest)
        ]
        for answer in ended:
            answer.connection.abort(failure, answer.lease)
        return len(ended)
