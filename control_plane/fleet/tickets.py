"""Tickets and the keys that sign them. Pure; their form is in docs/architecture.md."""

import base64
import hmac
from dataclasses import dataclass, field
from functools import lru_cache

import orjson
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

VERSION = 1
KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class TicketKey:
    """The key of one generation, which is its id. Never logged, so never in a repr."""

    id: int
    key: bytes = field(repr=False)


@lru_cache(maxsize=16_384)
def derive_ticket_key(ticket_secret: bytes, agent_id: str, generation: int) -> TicketKey:
    """HKDF-SHA256(secret, salt = agent id, info = daalu-ticket-<generation>), 32 bytes."""
    derivation = HKDF(SHA256(), KEY_BYTES, agent_id.encode(), f"daalu-ticket-{generation}".encode())
    return TicketKey(generation, derivation.derive(ticket_secret))


def accepted_keys(ticket_secret: bytes, agent_id: str, generation: int) -> list[TicketKey]:
    """The keys that an agent of this generation accepts: this one, and the one before it if there was one."""
    return [
        derive_ticket_key(ticket_secret, agent_id, each) for each in (generation, generation - 1) if each >= 1
    ]


@dataclass(frozen=True, slots=True)
class TicketClaims:
    call_id: str
    attempt_id: str
    served_name: str
    # own, pool or probe.
    tier: str
    expires_unix_s: int


def sign_ticket(key: TicketKey, claims: TicketClaims) -> bytes:
    """The value of the header x-daalu-ticket."""
    content = {
        "v": VERSION,
        "k": key.id,
        "c": claims.call_id,
        "a": claims.attempt_id,
        "m": claims.served_name,
        "t": claims.tier,
        "e": claims.expires_unix_s,
    }
    encoded = _base64url(orjson.dumps(content))
    return encoded + b"." + _base64url(hmac.digest(key.key, encoded, "sha256"))


def _base64url(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")
