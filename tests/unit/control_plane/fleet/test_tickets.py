"""Ticket keys and tickets are what docs/architecture.md says, worked out here by other means."""

import base64
import hashlib
import hmac
import json

from control_plane.fleet.tickets import (
    TicketClaims,
    TicketKey,
    accepted_keys,
    derive_ticket_key,
    sign_ticket,
)

SECRET = bytes(range(32))


def _hkdf(secret: bytes, salt: bytes, info: bytes) -> bytes:
    """RFC 5869 with SHA-256, for 32 bytes."""
    extracted = hmac.digest(salt, secret, hashlib.sha256)
    return hmac.digest(extracted, info + b"\x01", hashlib.sha256)


def test_a_key_is_the_hkdf_of_secret_agent_and_generation() -> None:
    assert derive_ticket_key(SECRET, "agt-1", 2) == TicketKey(2, _hkdf(SECRET, b"agt-1", b"daalu-ticket-2"))


def test_keys_differ_between_agents_and_between_generations() -> None:
    keys = {derive_ticket_key(SECRET, agent, each).key for agent in ("a", "b") for each in (1, 2)}
    assert len(keys) == 4


def test_an_agent_accepts_its_generation_and_the_one_before() -> None:
    assert [key.id for key in accepted_keys(SECRET, "agt-1", 3)] == [3, 2]
    assert [key.id for key in accepted_keys(SECRET, "agt-1", 1)] == [1]


def test_a_ticket_is_its_claims_and_their_mac() -> None:
    key = TicketKey(7, b"k" * 32)
    ticket = sign_ticket(key, TicketClaims("call-1", "att-1", "tiny", "probe", 1_700_000_000))
    claims, mac = ticket.decode().split(".")
    padded = claims + "=" * (-len(claims) % 4)
    assert json.loads(base64.urlsafe_b64decode(padded)) == {
        "v": 1,
        "k": 7,
        "c": "call-1",
        "a": "att-1",
        "m": "tiny",
        "t": "probe",
        "e": 1_700_000_000,
    }
    expected = base64.urlsafe_b64encode(hmac.digest(key.key, claims.encode(), "sha256")).rstrip(b"=").decode()
    assert mac == expected


def test_a_key_does_not_show_in_logs() -> None:
    assert "6b6b" not in repr(TicketKey(1, b"kk"))
    assert "kk" not in repr(TicketKey(1, b"kk"))
