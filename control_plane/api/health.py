"""The health of an agent's cards, as JSON."""

from typing import Self

from control_plane.api.schemas import Response
from control_plane.fleet import AgentHealth, Finding


class CardFindingResponse(Response):
    """Something that is wrong with a card: why that is believed, since when, and what to do."""

    # The rule's name, e.g. temperature_critical. Names are stable.
    code: str
    # What it looks at, e.g. temperature.
    subject: str
    # warning or critical.
    health: str
    evidence: str
    advice: str
    since_unix_ms: int
    # None: of the host, not of one card.
    card_uuid: str | None

    @classmethod
    def of(cls, finding: Finding) -> Self:
        return cls(
            code=finding.code,
            subject=finding.subject,
            health=finding.health,
            evidence=finding.evidence,
            advice=finding.advice,
            since_unix_ms=finding.since_unix_ms,
            card_uuid=finding.card_uuid,
        )


def findings(health: AgentHealth | None) -> list[CardFindingResponse]:
    """Worst first."""
    return [CardFindingResponse.of(finding) for finding in health.findings()] if health else []
