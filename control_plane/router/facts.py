"""What a plan is made from: facts of the call, of its tenant and of the world, as plain values."""

from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from control_plane.economy import ExternalPolicy, Offers, Pin
from control_plane.fleet import FleetView
from control_plane.fleet.load_test import MeasuredLimit
from control_plane.identifiers import AgentId, TenantId
from control_plane.vendors import VendorModel

# The densest text that tokenizers make, near enough: runs of blanks apart, a token covers fewer characters.
# Estimates for leaving a card out use it, so that no card is left out that could have served.
MOST_CHARACTERS_PER_TOKEN = 16


@dataclass(frozen=True, slots=True)
class CallFacts:
    """What routing needs to know of a request. Make a GeneralCall or a CodingCall."""

    # As the client asked for it: a served name or a catalogue id.
    model: str
    # Text only; pictures and the template's own tokens are not counted.
    prompt_characters: int
    # What the client set as its limit; None: the engine's own.
    max_tokens: int | None
    # Pictures, sound and the like: no model of the catalogue takes them.
    text_only: bool = True
    # The gateway can count by itself what it sends and gets: third parties' cards are paid by that.
    countable: bool = True
    # Where the search for a pool's card begins: calls whose prompts begin alike have the same.
    affinity: int = 0

    @property
    def prompt_tokens_at_least(self) -> int:
        return self.prompt_characters // MOST_CHARACTERS_PER_TOKEN


@dataclass(frozen=True, slots=True)
class GeneralCall(CallFacts):
    """May be served by any tier that the tenant's policy allows."""


@dataclass(frozen=True, slots=True)
class CodingCall(CallFacts):
    """Never leaves the tenant's trusted perimeter: its own cards and operator-run ones."""


@dataclass(frozen=True, slots=True)
class TenantFacts:
    tenant_id: TenantId
    # The pools that it may use for this call's model, under what terms.
    offers: Offers = field(default_factory=Offers)
    external: ExternalPolicy = field(default_factory=ExternalPolicy)
    # Where alone this call may go, if an administrator said so.
    pin: Pin | None = None


@dataclass(frozen=True, slots=True)
class World:
    """What may serve, as of one moment."""

    fleet: FleetView = field(default_factory=FleetView)
    # Calls that this process has sent to each agent and not seen end: samples are seconds old, and a burst
    # would all go to the card that was idle in the last one.
    in_flight: Mapping[AgentId, int] = field(default_factory=dict)
    # Agents and vendors that failed again and again just now.
    broken: Container[str] = frozenset()
    # Catalogue ids of models whose tokens the gateway can count itself: others are not served on
    # third-party cards.
    countable: Container[str] = frozenset()
    # Those that serve the call's model, in the order in which to try them.
    vendors: tuple[VendorModel, ...] = ()
    # What load tests found that cards work on well at once.
    measured: Mapping[AgentId, MeasuredLimit] = field(default_factory=dict)
    # The call is a load test's: it measures the queue, so no limit of the queue turns it away.
    measuring: bool = False
