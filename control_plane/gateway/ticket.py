"""Tickets of calls: what an engine's gate admits an attempt by. Their form is the fleet's."""

from dataclasses import dataclass

from control_plane.fleet import TicketClaims, TicketKey, sign_ticket
from control_plane.identifiers import AttemptId, CallId
from control_plane.store.tables import Tier

LIFETIME_S = 30


@dataclass(frozen=True, slots=True)
class Admission:
    """What one ticket is good for: one attempt at one model, once."""

    call_id: CallId
    attempt_id: AttemptId
    served_name: str
    tier: Tier


def mint(key: TicketKey, admission: Admission, now_s: int) -> bytes:
    """The value of `x-daalu-ticket`, good until LIFETIME_S after `now_s` (Unix seconds)."""
    claims = TicketClaims(
        call_id=admission.call_id,
        attempt_id=admission.attempt_id,
        served_name=admission.served_name,
        tier=admission.tier,
        expires_unix_s=now_s + LIFETIME_S,
    )
    return sign_ticket(key, claims)
