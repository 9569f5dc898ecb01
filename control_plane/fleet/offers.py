"""What an agent's cards can serve of the catalogue, and why not the rest. Pure."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from daalu_wire.v1 import agent_pb2, catalogue_pb2

from control_plane.catalogue import CardFacts, Fit, fit, smallest_fit


@dataclass(frozen=True, slots=True)
class Offer:
    """One model on one agent."""

    model: catalogue_pb2.Model
    # On the agent's largest card, the only one that its engine uses; None: no card's memory is known.
    alone: Fit | None
    # On the fewest equal cards that would do where one does not; None: not with all of them either.
    together: Fit | None

    @property
    def fits(self) -> bool:
        return self.alone is not None and self.alone.fits

    @property
    def words(self) -> str:
        """Why it is offered or not, with the figures."""
        if self.alone is None:
            return "no card's memory is known, so nothing can be worked out"
        if self.together is None:
            return self.alone.words
        count = self.together.cards.count
        return (
            f"{self.alone.words}; it would fit on {count} cards together, which this version's engine"
            f" does not use: {self.together.words}"
        )


def offers(
    models: Iterable[catalogue_pb2.Model], inventory: agent_pb2.GetInventoryResponse | None
) -> list[Offer]:
    """Every model, in the order given."""
    largest, equal = largest_card(inventory)
    return [_offer(model, largest, equal) for model in models]


def refusal(model: catalogue_pb2.Model, inventory: agent_pb2.GetInventoryResponse | None) -> str | None:
    """Why a model must not be deployed on this agent; None: it may be, or nothing speaks against it.

    A simulated card refuses nothing: the engine there runs on the processor.
    """
    real = inventory is not None and inventory.card_system.state == agent_pb2.CARD_SYSTEM_STATE_OK
    largest, equal = largest_card(inventory) if real else (None, 1)
    offer = _offer(model, largest, equal)
    return None if largest is None or offer.fits else f"{model.model_id} does not fit: {offer.words}"


def largest_card(inventory: agent_pb2.GetInventoryResponse | None) -> tuple[CardFacts | None, int]:
    """The card with the most memory, and how many there are of its kind. None: no memory is known."""
    known = Counter(
        facts for card in (inventory.cards if inventory else ()) if (facts := _facts(card)) is not None
    )
    largest = max(known, key=lambda facts: facts.memory_bytes, default=None)
    return largest, known[largest] if largest else 1


def identity_of(card: agent_pb2.Card) -> tuple[str | None, int | None, str | None]:
    """Name, memory in bytes and compute capability; None for what the driver did not say."""
    memory = card.memory_total_bytes
    return (
        card.name.value or None,
        int(memory.value) if memory.WhichOneof("reading") == "value" and memory.value > 0 else None,
        card.compute_capability.value or None,
    )


def _offer(model: catalogue_pb2.Model, largest: CardFacts | None, equal: int) -> Offer:
    if largest is None:
        return Offer(model, None, None)
    alone = fit(model, largest)
    together = None if alone.fits else smallest_fit(model, replace(largest, count=equal))
    return Offer(model, alone, together)


def _facts(card: agent_pb2.Card) -> CardFacts | None:
    name, memory_bytes, compute_capability = identity_of(card)
    if memory_bytes is None:
        return None
    return CardFacts(memory_bytes, compute_capability, is_a100="a100" in (name or "").casefold())
