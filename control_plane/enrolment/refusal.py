"""Why a claim is refused, what the agent is told, and which HTTP status that is."""

from dataclasses import dataclass
from enum import StrEnum


class RefusalCode(StrEnum):
    MALFORMED = "malformed"
    UNKNOWN_AGENT = "unknown_agent"
    UNKNOWN_TOKEN = "unknown_token"  # noqa: S105 - a code, no secret
    EXPIRED_TOKEN = "expired_token"  # noqa: S105
    TOKEN_USED = "token_used"  # noqa: S105
    KEYS_KNOWN = "keys_known"
    DIRECT_NOT_ALLOWED = "direct_not_allowed"
    REVOKED = "revoked"


HTTP_STATUS = {
    RefusalCode.MALFORMED: 400,
    RefusalCode.UNKNOWN_TOKEN: 401,
    RefusalCode.UNKNOWN_AGENT: 404,
    RefusalCode.DIRECT_NOT_ALLOWED: 403,
    RefusalCode.TOKEN_USED: 409,
    RefusalCode.KEYS_KNOWN: 409,
    RefusalCode.EXPIRED_TOKEN: 410,
    RefusalCode.REVOKED: 410,
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal is a result and not an exception: what it leaves in the audit trail must be committed."""

    code: RefusalCode
    # One line that says what to do.
    message: str


class Refused(Exception):
    """A claim that is refused before it comes to the store."""

    def __init__(self, code: RefusalCode, message: str) -> None:
        super().__init__(message)
        self.refusal = Refusal(code, message)
