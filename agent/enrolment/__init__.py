"""Claiming an invite: the one exchange that this host starts, before its tunnel exists.

An *invite* names the control plane's address, a one-time token and the control plane's public key; that key
stands in for certificate verification. A *refusal* is the control plane's last word and is never tried
again; a *fault on the way* is, with full jitter, until the time is up. Keys are made before the first try and
kept, so that a lost reply costs nothing: the same token with the same keys gives the same answer.
"""

from agent.enrolment.claim import Enrolled, Host, claim
from agent.enrolment.connection import EnrolmentError, Refused, Unreachable, WrongKey
from agent.enrolment.invite import InvalidInvite, Invite, parse_invite

__all__ = [
    "Enrolled",
    "EnrolmentError",
    "Host",
    "InvalidInvite",
    "Invite",
    "Refused",
    "Unreachable",
    "WrongKey",
    "claim",
    "parse_invite",
]
