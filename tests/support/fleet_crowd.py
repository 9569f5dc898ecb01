"""Many agents in one process: the real wire and mutual TLS for each, and samples that are counted."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from daalu_wire.v1 import agent_pb2
from sqlmodel import Session

from control_plane.catalogue import Entry
from control_plane.fleet import CertificateAuthority
from control_plane.identifiers import new_agent_id, new_tenant_id
from control_plane.store import announce, unix_ms
from control_plane.store.tables import ChangeKind, Deployment, Tenant
from tests.support.fleet import agent_row
from tests.support.fleet_agent import Context, ScriptedAgent
from tests.support.telemetry import sample_at_work

AGENTS_OF_A_TENANT = 10
# 127.64.0.1 and up: away from what other programs of this machine listen on.
_FIRST_NETWORK = 64
_CARD_NAME = "NVIDIA RTX 2000 Ada Generation"
# Every sample has its number in a reading of which nothing else is made.
NUMBERED_READING = "clock_memory_mhz"


class SamplingAgent(ScriptedAgent):
    """A card at work and an engine that serves `entry`. Answers on a loopback address of its own."""

    def __init__(self, number: int, authority: CertificateAuthority, entry: Entry, every_s: float) -> None:
        """`every_s`: between samples, whatever is asked for."""
        host = f"127.{_FIRST_NETWORK + number // 62_500}.{number % 62_500 // 250}.{number % 250 + 1}"
        super().__init__(new_agent_id(), host, 0, authority)
        self.uuid = f"GPU-{self.agent_id}"
        # Samples that the transport has taken.
        self.sent_count = 0
        self.first_sent = asyncio.Event()
        self._every_s = every_s
        self._chance = random.Random(number)
        reference = agent_pb2.CatalogueReference(model_id=entry.model.model_id, digest=entry.digest)
        self.behaviour.catalogue = [reference]
        card = agent_pb2.Card(index=0, uuid=self.uuid)
        card.name.value, card.memory_total_bytes.value = _CARD_NAME, 17_171_480_576
        self.behaviour.cards = [card]
        self.behaviour.card_system = agent_pb2.CardSystem(state=agent_pb2.CARD_SYSTEM_STATE_OK)
        self._engine = agent_pb2.EngineSample(
            phase=agent_pb2.ENGINE_PHASE_READY,
            model=reference,
            served_name=entry.model.served_name,
            context_tokens=8_192,
            max_running_calls=16,
        )

    async def StreamTelemetry(  # noqa: N802
        self, request: agent_pb2.StreamTelemetryRequest, context: Context
    ) -> AsyncIterator[agent_pb2.TelemetrySample]:
        due_s = time.monotonic()
        while not self.behaviour.silent:
            yield self._sample()
            self.sent_count += 1
            self.first_sent.set()
            due_s += self._every_s
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        # Silence, not an end: a stream that ends is asked for again.
        await asyncio.Event().wait()

    def _sample(self) -> agent_pb2.TelemetrySample:
        sample = sample_at_work(self.uuid, unix_ms(), self._chance)
        sample.sequence = self.sent_count + 1
        sample.daemon_started_unix_ms = self._started_unix_ms
        getattr(sample.cards[0], NUMBERED_READING).value = sample.sequence
        sample.engine.MergeFrom(self._engine)
        return sample


def enrol_all(session: Session, agents: Sequence[SamplingAgent], *, engine_port: int, model_id: str) -> None:
    """The rows of agents that have been started, ten to a tenant."""
    for first in range(0, len(agents), AGENTS_OF_A_TENANT):
        tenant_id = new_tenant_id()
        session.add(Tenant(id=tenant_id, name=tenant_id, created_unix_ms=unix_ms()))
        session.flush()
        for number, agent in enumerate(agents[first : first + AGENTS_OF_A_TENANT], start=first):
            session.add(agent_row(agent, tenant_id, name=f"host-{number}", engine_port=engine_port))
            session.flush()
            session.add(Deployment(agent_id=agent.agent_id, model_id=model_id, changed_unix_ms=unix_ms()))
            announce(session, ChangeKind.AGENT, agent.agent_id)


@asynccontextmanager
async def crowd(
    count: int, authority: CertificateAuthority, entry: Entry, every_s: float
) -> AsyncIterator[tuple[list[SamplingAgent], int]]:
    """Agents that answer, and the port on which the engine of each does."""
    agents = [SamplingAgent(number, authority, entry, every_s) for number in range(count)]
    async with AsyncExitStack() as stack:
        engines = await asyncio.start_server(_healthy, "0.0.0.0", 0, backlog=count)
        stack.push_async_callback(engines.wait_closed)
        stack.callback(engines.close)
        for agent in agents:
            await stack.enter_async_context(agent)
        yield agents, engines.sockets[0].getsockname()[1]


async def _healthy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers a probe. Whether its ticket is good is looked at where few agents do this."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    await writer.drain()
    writer.close()
