"""The cards of a pool on a ring: calls with the same prompt prefix begin their search at the same card.

Consistent hashing: a card that joins or leaves moves only the calls that begin near it. Built once for a
change of the pool, walked for every call.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from struct import Struct

from control_plane.identifiers import AgentId, TenantId

RING_SIZE = 1 << 32
# Of each card, as many as one digest gives: the more, the more even are the parts of the ring that begin at
# each. The largest part of 10 cards is 1.4 times a fair one at the median over random ids.
POINTS_PER_CARD = 16
_POINTS = Struct(f">{POINTS_PER_CARD}I")


@dataclass(frozen=True, slots=True)
class PoolCard:
    """A card in a pool. `operator_run`: the operator's own, within everybody's trusted perimeter."""

    agent_id: AgentId
    tenant_id: TenantId
    operator_run: bool


class CardRing:
    """Immutable."""

    __slots__ = ("_owners", "_points", "cards")

    def __init__(self, cards: tuple[PoolCard, ...] = ()) -> None:
        self.cards = cards
        placed = sorted((point, index) for index, card in enumerate(cards) for point in _points(card))
        self._points = [point for point, _ in placed]
        self._owners = [index for _, index in placed]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CardRing) and self.cards == other.cards

    def __hash__(self) -> int:
        return hash(self.cards)

    def __repr__(self) -> str:
        return f"CardRing({self.cards!r})"

    def has_other_than(self, tenant_id: TenantId) -> bool:
        """Whether any card is not this tenant's."""
        return any(card.tenant_id != tenant_id for card in self.cards)

    def walk(self, begin: int) -> Iterator[PoolCard]:
        """Every card once, in the ring's order from `begin` (0 to RING_SIZE - 1)."""
        first, seen = bisect_left(self._points, begin), set[int]()
        for step in range(len(self._points)):
            index = self._owners[(first + step) % len(self._owners)]
            if index not in seen:
                seen.add(index)
                yield self.cards[index]


def _points(card: PoolCard) -> tuple[int, ...]:
    # No checksum: those of ids that differ in one place lie at fixed distances, and their points would clump.
    return _POINTS.unpack(blake2b(card.agent_id.encode(), digest_size=_POINTS.size).digest())


NO_CARDS = CardRing()
