"""The router: decides, per call, who may serve it and in which order.

A *plan* lists *candidates*, best first, and for everything that was *left out* a reason. A coding call's
plan has a narrower type of candidate than a general call's. *Seats* are the cards of one pool that were
chosen for a call. *Falling through* is trying the next candidate after a failed attempt, within the *retry
budget*; a *breaker* leaves an agent alone that failed again and again. The *decision record* is what of this
is stored with the call.
"""

from control_plane.router.breakers import Breakers
from control_plane.router.candidates import (
    AnyCandidate,
    AtVendor,
    CardCandidate,
    LeftOut,
    OperatorCard,
    OwnCard,
    PerimeterCandidate,
    PoolCandidate,
    Reason,
    ThirdPartyCard,
    place_of,
)
from control_plane.router.choice import choose_model
from control_plane.router.decision import AttemptEnd, Denial, Planned, decision_json, reasons_in_words
from control_plane.router.facts import (
    CallFacts,
    CodingCall,
    GeneralCall,
    TenantFacts,
    World,
)
from control_plane.router.fall_through import MAX_ATTEMPTS, FallThrough, RetryBudget
from control_plane.router.obstacles import is_reachable, serves, unhealthy
from control_plane.router.one_card import why_left_out
from control_plane.router.plan import OpenPlan, PerimeterPlan, Plan, plan

__all__ = [
    "MAX_ATTEMPTS",
    "AnyCandidate",
    "AtVendor",
    "AttemptEnd",
    "Breakers",
    "CallFacts",
    "CardCandidate",
    "CodingCall",
    "Denial",
    "FallThrough",
    "GeneralCall",
    "LeftOut",
    "OpenPlan",
    "OperatorCard",
    "OwnCard",
    "PerimeterCandidate",
    "PerimeterPlan",
    "Plan",
    "Planned",
    "PoolCandidate",
    "Reason",
    "RetryBudget",
    "TenantFacts",
    "ThirdPartyCard",
    "World",
    "choose_model",
    "decision_json",
    "is_reachable",
    "place_of",
    "plan",
    "reasons_in_words",
    "serves",
    "unhealthy",
    "why_left_out",
]
