"""Tickets: what they claim, and whether a header holds a good one."""

import base64
import binascii
import dataclasses
import hmac
import json
import logging
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger("daalu.gate")

TIERS = frozenset({"own", "pool", "agent", "probe"})
# The key that the daemon makes for itself, good for its own tier only.
LOCAL_KEY_ID = 0
TICKET_BYTES_MAX = 2048
TICKET_LIFE_MAX_S = 60


class Refused(Exception):
    """A request that goes no further: what the caller is told."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclasses.dataclass(frozen=True, slots=True)
class Ticket:
    """The claims of docs/architecture.md, their signature verified."""

    key_id: int
    call_id: str
    attempt_id: str
    served_name: str
    tier: str
    expires_s: int


def read_ticket(header: bytes, key_of: Callable[[int], bytes | None], now_s: float) -> Ticket:
    """Parse and verify; Refused (401) when malformed, signed with an unknown key or another, or not live."""
    malformed = Refused(401, "ticket_malformed", "the ticket is malformed")
    if len(header) > TICKET_BYTES_MAX:
        raise malformed
    try:
        encoded, mac = header.split(b".")
        claims = json.loads(_unpadded(encoded))
        ticket = Ticket(*(claims[name] for name in ("k", "c", "a", "m", "t", "e")))
        version, signature = claims["v"], _unpadded(mac)
    except (ValueError, binascii.Error, KeyError, TypeError, RecursionError) as error:
        raise malformed from error
    texts = (ticket.call_id, ticket.attempt_id, ticket.served_name, ticket.tier)
    numbers = (version, ticket.key_id, ticket.expires_s)
    if any(type(number) is not int for number in numbers) or version != 1:
        raise malformed
    if any(type(text) is not str or not 0 < len(text) <= 200 for text in texts):
        raise malformed
    key = key_of(ticket.key_id)
    if key is None or not hmac.compare_digest(hmac.digest(key, encoded, "sha256"), signature):
        raise Refused(401, "ticket_foreign", "the ticket is not signed with a key of this agent")
    if ticket.tier not in TIERS or (ticket.key_id == LOCAL_KEY_ID and ticket.tier != "agent"):
        raise malformed
    if not now_s <= ticket.expires_s <= now_s + TICKET_LIFE_MAX_S:
        raise Refused(401, "ticket_stale", "the ticket has expired or is not valid yet; compare the clocks")
    return ticket


def _unpadded(text: bytes) -> bytes:
    return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)


def sign_ticket(ticket: Ticket, key: bytes) -> bytes:
    """The header's value."""
    claims = {"v": 1, "k": ticket.key_id, "c": ticket.call_id, "a": ticket.attempt_id}
    claims |= {"m": ticket.served_name, "t": ticket.tier, "e": ticket.expires_s}
    encoded = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
    mac = base64.urlsafe_b64encode(hmac.digest(key, encoded, "sha256")).rstrip(b"=")
    return encoded + b"." + mac


class TicketKeys:
    """The keys in ticket-keys.json, read again when a ticket names one that is not among them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_from: tuple[int, int] | None = None
        self._keys: dict[int, bytes] = {}

    def __call__(self, key_id: int) -> bytes | None:
        # A file is replaced by a rename, so a look at its inode and time is enough to know that it changed,
        # and a stranger's tickets cost no more than that look.
        try:
            stat = self._path.stat()
            if (stat.st_ino, stat.st_mtime_ns) != self._read_from:
                keys = json.loads(self._path.read_bytes())["keys"]
                self._keys = {int(key["id"]): bytes.fromhex(key["key"]) for key in keys}
                self._read_from = (stat.st_ino, stat.st_mtime_ns)
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("cannot read the ticket keys in %s: %s", self._path, error)
        return self._keys.get(key_id)
