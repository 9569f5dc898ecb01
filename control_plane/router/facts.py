"""What a plan is made from: facts of the call and of its tenant, as plain values."""

from dataclasses import dataclass

from control_plane.identifiers import TenantId

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
