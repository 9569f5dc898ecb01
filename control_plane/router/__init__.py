"""The router: decides, per call, who may serve it and in which order.

A *plan* lists *candidates*, best first, and for every card that was *left out* a reason. A coding call's
plan has a narrower type of candidate than a general call's. *Falling through* is trying the next candidate
after a failed attempt. The *decision record* is what of this is stored with the call.
"""

from control_plane.router.decision import AttemptEnd, decision_json, reasons_in_words
from control_plane.router.facts import CallFacts, CodingCall, GeneralCall, TenantFacts
from control_plane.router.fall_through import MAX_ATTEMPTS, FallThrough
from control_plane.router.plan import (
    AnyCandidate,
    LeftOut,
    OpenPlan,
    OwnCard,
    PerimeterCandidate,
    PerimeterPlan,
    Plan,
    Reason,
    is_reachable,
    plan,
    serves,
    unhealthy,
)

__all__ = [
    "MAX_ATTEMPTS",
    "AnyCandidate",
    "AttemptEnd",
    "CallFacts",
    "CodingCall",
    "FallThrough",
    "GeneralCall",
    "LeftOut",
    "OpenPlan",
    "OwnCard",
    "PerimeterCandidate",
    "PerimeterPlan",
    "Plan",
    "Reason",
    "TenantFacts",
    "decision_json",
    "is_reachable",
    "plan",
    "reasons_in_words",
    "serves",
    "unhealthy",
]
