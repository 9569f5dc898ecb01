"""Who may serve a call: the candidates of each tier, and the reasons for leaving one out.

The types carry the rule of coding calls: what handles a coding call's plan knows PerimeterCandidate, which
has no place for a third-party card or a vendor.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from control_plane.economy import ExternalPolicy, PoolCard, PoolOffer
from control_plane.fleet import AgentView
from control_plane.identifiers import AgentId
from control_plane.store.tables import Tier
from control_plane.vendors import VendorModel


class Reason(StrEnum):
    """Why a card, a pool or a tier was left out. Codes are stable: they are stored and shown."""

    NO_ENGINE = "no_engine"
    OTHER_MODEL = "other_model"
    OUT_OF_REACH = "out_of_reach"
    NOT_READY = "not_ready"
    DRAINING = "draining"
    CONTEXT_TOO_SMALL = "context_too_small"
    QUEUE_FULL = "queue_full"
    UNHEALTHY = "unhealthy"
    POOL_PAUSED = "pool_paused"
    # By its owner's limits on pool work.
    OUTSIDE_POOL_HOURS = "outside_pool_hours"
    OVER_POOL_LIMIT = "over_pool_limit"
    BREAKER_OPEN = "breaker_open"
    NOT_TEXT = "not_text"
    # Of a pool's cards.
    NO_ROOM = "no_room"
    UNCOUNTABLE = "uncountable"
    NO_CARD_SERVES_IT = "no_card_serves_it"
    # Of a pool.
    UNPRICED = "unpriced"
    NO_CARDS = "no_cards"
    UNTRUSTED_CARDS = "untrusted_cards"
    NOT_ENTITLED = "not_entitled"
    PINNED_ELSEWHERE = "pinned_elsewhere"
    # Of vendors.
    EXTERNAL_NOT_ALLOWED = "external_not_allowed"
    OVERAGE_STOPS = "overage_stops"


@dataclass(frozen=True, slots=True)
class OwnCard:
    """A card of the calling tenant: no price, no hold."""

    agent: AgentView
    # What the engine calls the model.
    served_name: str
    # Calls on it per call that it can work on at once; 1.0 is a full card with no queue.
    load: float

    @property
    def tier(self) -> Tier:
        return Tier.OWN


@dataclass(frozen=True, slots=True)
class OperatorCard:
    """An operator-run card of a pool: within everybody's trusted perimeter."""

    agent: AgentView
    served_name: str
    load: float
    offer: PoolOffer
    card: PoolCard

    @property
    def tier(self) -> Tier:
        return Tier.POOL


@dataclass(frozen=True, slots=True)
class ThirdPartyCard:
    """A card that another tenant lends to a pool."""

    agent: AgentView
    served_name: str
    load: float
    offer: PoolOffer
    card: PoolCard

    @property
    def tier(self) -> Tier:
        return Tier.POOL


@dataclass(frozen=True, slots=True)
class AtVendor:
    """A commercial vendor, under the tenant's policy."""

    model: VendorModel
    policy: ExternalPolicy

    @property
    def served_name(self) -> str:
        return self.model.served_name

    @property
    def tier(self) -> Tier:
        return Tier.EXTERNAL


def place_of(candidate: "AnyCandidate") -> str:
    """Whom a failure of it counts against."""
    return candidate.model.vendor if isinstance(candidate, AtVendor) else candidate.agent.agent_id


PoolCandidate: TypeAlias = OperatorCard | ThirdPartyCard
CardCandidate: TypeAlias = OwnCard | OperatorCard | ThirdPartyCard
# What a coding call may be served by.
PerimeterCandidate: TypeAlias = OwnCard | OperatorCard
AnyCandidate: TypeAlias = PerimeterCandidate | ThirdPartyCard | AtVendor


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A card, or a pool or tier as a whole, that the plan left out."""

    tier: Tier
    reason: Reason
    # For people: what is in the way.
    words: str
    agent_id: AgentId | None = None
    # Its tenant's name for it: not for other tenants to see.
    agent_name: str | None = None
    pool_name: str | None = None
