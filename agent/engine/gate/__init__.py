"""The gate: ASGI middleware inside the engine's own server, which admits a call only with a valid ticket.

vLLM imports a copy of this package as `daalu_gate`, in its own process and environment: standard library
alone, imports within it relative, Python 3.11 and later. It guards the host from others on the tunnel; it is
no defence against the host itself. A *ticket* is the control plane's leave for one *attempt* at a call; an
*admission* is an attempt that was let in; a *receipt* says what came of it, in the *journal*.
"""

from .journal import FLOOR, TIERS_WITH_RECEIPTS, Journal, read_segment
from .middleware import Gate
from .ticket import LOCAL_KEY_ID, Refused, Ticket, TicketKeys, read_ticket, sign_ticket
from .usage import Answer, UsageMeter

__all__ = [
    "FLOOR",
    "LOCAL_KEY_ID",
    "TIERS_WITH_RECEIPTS",
    "Answer",
    "Gate",
    "Journal",
    "Refused",
    "Ticket",
    "TicketKeys",
    "UsageMeter",
    "read_segment",
    "read_ticket",
    "sign_ticket",
]
