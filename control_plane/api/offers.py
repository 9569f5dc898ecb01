"""REST: what an agent's cards can serve, with the working shown, and the card classes."""

from collections.abc import Iterable
from typing import Protocol, Self

from daalu_wire.v1 import agent_pb2, catalogue_pb2
from fastapi import APIRouter

from control_plane.api.queries import find_agent
from control_plane.api.schemas import Response
from control_plane.catalogue import CardClass, CardClasses, Entry, Fit
from control_plane.fleet import AgentStatus, Offer, identity_of, offers
from control_plane.identifiers import AgentId
from control_plane.store import Store


class CardClassResponse(Response):
    """`known` is false for a class that was derived, because no file describes the card."""

    id: str
    name: str
    form: str
    compute_capability: str | None
    known: bool

    @classmethod
    def of(cls, found: CardClass) -> Self:
        return cls(
            id=found.id,
            name=found.name,
            form=found.form,
            compute_capability=found.compute_capability,
            known=found.known,
        )


class OfferedCard(Response):
    """A card of the agent. `card_class` is None where too little is known of it."""

    index: int
    uuid: str
    name: str | None
    memory_total_bytes: int | None
    simulated: bool
    card_class: CardClassResponse | None

    @classmethod
    def of(cls, card: agent_pb2.Card, classes: CardClasses) -> Self:
        name, memory_bytes, compute_capability = identity_of(card)
        found = classes.recognise(name, memory_bytes, compute_capability)
        return cls(
            index=card.index,
            uuid=card.uuid,
            name=name,
            memory_total_bytes=memory_bytes,
            simulated=card.simulated,
            card_class=CardClassResponse.of(found) if found else None,
        )


class WorkingResponse(Response):
    """The arithmetic on one card: usable - weights - working = cache."""

    memory_bytes: int
    usable_bytes: int
    weights_bytes: int
    working_bytes: int
    cache_bytes: int
    kv_bytes_per_token: int
    # In all; also the longest context of which one call fits.
    cache_tokens: int
    # At once, each with the whole context.
    full_context_calls: int

    @classmethod
    def of(cls, fit: Fit) -> Self:
        return cls(
            memory_bytes=fit.cards.memory_bytes,
            usable_bytes=fit.usable,
            weights_bytes=fit.weights,
            working_bytes=fit.working,
            cache_bytes=fit.cache,
            kv_bytes_per_token=fit.kv_per_token,
            cache_tokens=fit.cache_tokens,
            full_context_calls=fit.full_context_calls,
        )


class OfferResponse(Response):
    """A model on this agent. `obstacle` is a code and `words` say the same with the figures."""

    model_id: str
    served_name: str
    kind: str
    quantization: str
    context_tokens: int
    max_running_calls: int
    fits: bool
    obstacle: str | None
    words: str
    # None: no card's memory is known.
    working: WorkingResponse | None
    # Equal cards that would do together where one does not; None: one does, or all of them do not.
    cards_together: int | None

    @classmethod
    def of(cls, offer: Offer) -> Self:
        model, alone = offer.model, offer.alone
        return cls(
            model_id=model.model_id,
            served_name=model.served_name,
            kind=catalogue_pb2.ModelKind.Name(model.kind).removeprefix("MODEL_KIND_").lower(),
            quantization=model.quantization,
            context_tokens=model.context_tokens,
            max_running_calls=model.max_running_calls,
            fits=offer.fits,
            obstacle=alone.obstacle if alone else None,
            words=offer.words,
            working=WorkingResponse.of(alone) if alone else None,
            cards_together=offer.together.cards.count if offer.together else None,
        )


class OffersResponse(Response):
    """Offered models first. `simulated`: the engine runs on the processor, and no deployment is refused."""

    agent_id: str
    name: str
    simulated: bool
    cards: list[OfferedCard]
    models: list[OfferResponse]


class Fleet(Protocol):
    """What these routes need of the fleet."""

    def status(self, agent_id: AgentId) -> AgentStatus | None: ...


def offer_routes(store: Store, fleet: Fleet, catalogue: Iterable[Entry], classes: CardClasses) -> APIRouter:
    routes = APIRouter()

    @routes.get("/card-classes")
    async def card_classes() -> list[CardClassResponse]:
        """The card classes that the catalogue knows."""
        return [CardClassResponse.of(each.card_class) for each in classes]

    @routes.get("/agents/{agent}/models")
    async def agents_models(agent: str) -> OffersResponse:
        """What an agent's cards can serve, and the arithmetic for each model."""
        row, _ = await store.read(lambda session: find_agent(session, agent))
        status = fleet.status(AgentId(row.id))
        inventory = status.inventory if status else None
        cards = [OfferedCard.of(card, classes) for card in (inventory.cards if inventory else ())]
        found = offers([entry.model for entry in catalogue], inventory)
        return OffersResponse(
            agent_id=row.id,
            name=row.name,
            simulated=any(card.simulated for card in cards),
            cards=cards,
            models=sorted((OfferResponse.of(offer) for offer in found), key=_offered_first),
        )

    return routes


def _offered_first(offer: OfferResponse) -> tuple[bool, str]:
    return not offer.fits, offer.model_id
