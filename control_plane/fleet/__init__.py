"""The fleet: every enrolled agent, dialled over its tunnel, and what is known of it now.

A *link* is all that this process does with one agent; a *conversation* is one connection within it. An
agent's *liveness* comes from its telemetry stream alone. The *view* is the fleet as the router sees it, the
*status* of an agent what operators see. The model *wanted* of an agent is kept in the store, and the fleet
works towards it. *Receipts* are what an agent's gate saw of calls; they complete a call whose own process
is gone. *Health* is of cards: *findings* follow from *rules*, each with its evidence and advice.
"""

from control_plane.fleet.dial import CertificateAuthority
from control_plane.fleet.fleet import Fleet, NotConnected
from control_plane.fleet.health import AgentHealth, Finding
from control_plane.fleet.health_rules import RULES, Health, Rule
from control_plane.fleet.offers import Offer, identity_of, offers
from control_plane.fleet.orders import revoke, revoke_agent, rotate_ticket_key, want_model
from control_plane.fleet.pool_hours import Window
from control_plane.fleet.pool_limits import Closed, LimitKind, PoolLimits
from control_plane.fleet.queries import pool_limits_of
from control_plane.fleet.status import AgentStatus
from control_plane.fleet.tickets import TicketClaims, TicketKey, sign_ticket
from control_plane.fleet.view import AgentView, EngineView, FleetView, Liveness

__all__ = [
    "RULES",
    "AgentHealth",
    "AgentStatus",
    "AgentView",
    "CertificateAuthority",
    "Closed",
    "EngineView",
    "Finding",
    "Fleet",
    "FleetView",
    "Health",
    "LimitKind",
    "Liveness",
    "NotConnected",
    "Offer",
    "PoolLimits",
    "Rule",
    "TicketClaims",
    "TicketKey",
    "Window",
    "identity_of",
    "offers",
    "pool_limits_of",
    "revoke",
    "revoke_agent",
    "rotate_ticket_key",
    "sign_ticket",
    "want_model",
]
