"""Samples of cards and engine, one every interval, until the caller hangs up."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from itertools import count

from daalu_wire.v1 import agent_pb2

from agent.cards import CardReader
from agent.rpc.contact import Contact
from agent.rpc.ports import EngineFacade

log = logging.getLogger(__name__)

INTERVAL_MIN_MS = 500
INTERVAL_MAX_MS = 5_000
INTERVAL_DEFAULT_MS = 2_000
DEFECT = "a defect in the agent's card reader; the agent's log has the details"


def interval_s(requested_ms: int) -> float:
    """0 asks for the default; everything else is brought within the limits."""
    wanted_ms = requested_ms or INTERVAL_DEFAULT_MS
    return min(INTERVAL_MAX_MS, max(INTERVAL_MIN_MS, wanted_ms)) / 1000


class Telemetry:
    """The sequence goes on over all streams of one daemon."""

    def __init__(self, cards: CardReader, engine: EngineFacade, contact: Contact) -> None:
        self._cards = cards
        self._engine = engine
        self._contact = contact
        self._sequence = count(1)
        self._started_unix_ms = unix_ms()

    async def stream(self, requested_ms: int) -> AsyncIterator[agent_pb2.TelemetrySample]:
        """The first at once. A caller that takes them slowly gets fewer, never a backlog."""
        pause_s = interval_s(requested_ms)
        while True:
            due_s = time.monotonic() + pause_s
            yield await self._sample()
            # Taken by the transport: the caller was there a moment ago.
            self._contact.note()
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))

    async def _sample(self) -> agent_pb2.TelemetrySample:
        try:
            system, cards = await self._cards.sample()
        except Exception:
            log.exception("cards could not be sampled")
            system = agent_pb2.CardSystem(state=agent_pb2.CARD_SYSTEM_STATE_ERROR, detail=DEFECT)
            cards = []
        return agent_pb2.TelemetrySample(
            sequence=next(self._sequence),
            sampled_unix_ms=unix_ms(),
            daemon_started_unix_ms=self._started_unix_ms,
            card_system=system,
            cards=cards,
            engine=self._engine.sample(),
        )


def unix_ms() -> int:
    return time.time_ns() // 1_000_000
