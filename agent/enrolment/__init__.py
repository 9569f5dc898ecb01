"""Claiming an invite: the one exchange that this host starts, before its tunnel exists.

An *invite* names the control plane's address, a one-time token and the control plane's public key; that key
stands in for certificate verification. A *refusal* is the control plane's last word and is never tried
again; a *fault on the way* is, with full jitter, until the time is up. Keys are made before the first try and
kept, so that a lost reply costs nothing: the same token with the same keys gives the same answer.

*Leaving* is the same exchange at the other end of an agent's life: the host has itself revoked.
"""

from agent.enrolment.claim import Enrolled, Host, claim
from agent.enrolment.connection import EnrolmentError, Refused, Unreachable, WrongKey
from agent.enrolment.invite import ControlPlane, InvalidInvite, Invite, parse_invite
from agent.enrolment.leave import leave

__all__ = [
    "ControlPlane",
    "Enrolled",
    "EnrolmentError",
    "Host",
    "InvalidInvite",
    "Invite",
    "Refused",
    "Unreachable",
    "WrongKey",
    "claim",
    "leave",
    "parse_invite",
]
