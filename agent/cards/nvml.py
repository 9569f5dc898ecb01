"""Cards as the NVIDIA driver reports them (NVML), with a deadline on every look."""

from collections.abc import Mapping
from pathlib import Path

from daalu_wire.v1 import agent_pb2

from agent.cards.fields import unread_card, unread_sample
from agent.cards.lane import Hung, Lane
from agent.cards.reader import Inventory, Sample
from agent.cards.session import NvmlSession

SAMPLE_DEADLINE_S = 1.0
# Opening a driver that keeps no state (persistence mode off) takes a second or more for each card.
INVENTORY_DEADLINE_S = 4.0

_Key = tuple[int, str]


class NvmlReader:
    """All driver calls happen in one thread: a lost card can keep one waiting for seconds, or for ever.

    What the thread has not found out by the deadline is an error in that sample, and the next one tries
    again. Nothing here raises for what hardware or driver do.
    """

    def __init__(
        self,
        sample_deadline_s: float = SAMPLE_DEADLINE_S,
        inventory_deadline_s: float = INVENTORY_DEADLINE_S,
        kernel_log: Path | None = None,
    ) -> None:
        """`kernel_log`: where the driver's complaints (Xid) are read; None: they are not."""
        self._sample_deadline_s = sample_deadline_s
        self._inventory_deadline_s = inventory_deadline_s
        self._lane = Lane("nvml")
        self._session = NvmlSession(kernel_log)
        self._cards: list[agent_pb2.Card] = []
        # The last sample that each card gave, so that a lost card which also hangs is still shown as lost.
        self._last: dict[_Key, agent_pb2.CardSample] = {}

    async def inventory(self) -> Inventory:
        """Cards that were read before, where the driver does not answer in time."""
        try:
            system, self._cards = await self._lane.run(self._session.inventory, self._inventory_deadline_s)
        except Hung as hung:
            known = self._cards or [unread_card(*key, str(hung)) for key in self._session.known]
            return self._hung_system(hung), known
        return system, self._cards

    async def sample(self) -> Sample:
        read: dict[_Key, agent_pb2.CardSample] = {}

        def publish(sample: agent_pb2.CardSample) -> None:
            read[sample.index, sample.uuid] = sample

        try:
            system = await self._lane.run(lambda: self._session.sample(publish), self._sample_deadline_s)
        except Hung as hung:
            answered = dict(read)
            unread = {
                key: self._unanswered(key, str(hung)) for key in self._session.known if key not in answered
            }
            system = self._session.system if answered else self._hung_system(hung)
            samples = {**answered, **unread}
        else:
            samples = self._last = read
        return system, _in_order(samples)

    def close(self) -> None:
        self._lane.close()

    def _unanswered(self, key: _Key, error: str) -> agent_pb2.CardSample:
        last = self._last.get(key)
        return last if last is not None and last.lost else unread_sample(*key, error)

    def _hung_system(self, hung: Hung) -> agent_pb2.CardSystem:
        system = agent_pb2.CardSystem()
        system.CopyFrom(self._session.system)
        if system.state in (agent_pb2.CARD_SYSTEM_STATE_OK, agent_pb2.CARD_SYSTEM_STATE_UNSPECIFIED):
            system.state, system.detail = agent_pb2.CARD_SYSTEM_STATE_ERROR, str(hung)
        return system


def _in_order(samples: Mapping[_Key, agent_pb2.CardSample]) -> list[agent_pb2.CardSample]:
    return [samples[key] for key in sorted(samples)]
