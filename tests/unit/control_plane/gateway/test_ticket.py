"""Tickets, checked as docs/architecture.md says that a gate checks them."""

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode

from control_plane.gateway.ticket import Admission, mint
from control_plane.identifiers import AttemptId, CallId
from control_plane.store.tables import Tier
from tests.support.gateway import TICKET_KEY


def test_a_ticket_is_claims_and_their_mac_in_unpadded_base64url() -> None:
    ticket = mint(TICKET_KEY, Admission(CallId("call-1"), AttemptId("att-1"), "tiny ☃", Tier.OWN), 1_000)
    claims, mac = ticket.split(b".")
    assert b"=" not in ticket
    assert urlsafe_b64decode(mac + b"=") == hmac.new(TICKET_KEY.key, claims, hashlib.sha256).digest()
    assert json.loads(urlsafe_b64decode(claims + b"==")) == {
        "v": 1,
        "k": TICKET_KEY.id,
        "c": "call-1",
        "a": "att-1",
        "m": "tiny ☃",
        "t": "own",
        "e": 1_030,
    }
