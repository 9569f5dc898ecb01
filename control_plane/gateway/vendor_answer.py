"""What a vendor's refusal means for the call. Pure."""

from typing import Any

import orjson

from control_plane.gateway.errors import Condition, error_body
from control_plane.gateway.reading import AttemptFailed, EngineRefused
from control_plane.vendors import Vendor

# The request itself is at fault; every other refusal is between the operator and the vendor, or the vendor's.
_CLIENTS_FAULT = frozenset({400, 413, 422})
# Another moment may be better.
_NOT_NOW = frozenset({408, 429, 503})
_MOST_CHARACTERS = 2_000

_WORDS = {
    401: "refused the operator's key",
    402: "wants to be paid first",
    403: "refused the operator's key",
    404: "does not know the model or the path that is configured for it",
    408: "waited too long for the request",
    429: "takes no more calls for now, by its own limit",
}


class VendorRefusals:
    """Of one vendor. Its own words reach the client only where the client can act on them: they may name the
    operator's account."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor

    def in_answer(self, status: int, body: bytes) -> AttemptFailed | EngineRefused:
        """What to raise for an answer with this status, which is not 200."""
        if status in _CLIENTS_FAULT:
            return _refused(self._vendor, status, _message(body))
        if 300 <= status < 400:
            words = f"answered with a redirect ({status}), and none is followed: correct its base_url"
            return self._failed("vendor_redirect", words)
        words = f"{_WORDS.get(status, 'failed')} ({status})"
        return self._failed(f"vendor_{status}", words, at_fault=status not in _NOT_NOW)

    def in_stream(self, error: dict[str, Any]) -> AttemptFailed | EngineRefused:
        """The same for an error that a stream had in place of its first content."""
        code = error.get("code", error.get("status"))
        if isinstance(code, int) and code in _CLIENTS_FAULT:
            return _refused(self._vendor, code, str(error.get("message")))
        return self._failed("vendor_error", "reported an error in its stream")

    def words(self, error: dict[str, Any]) -> str:
        """For the client, of an error that a stream had after content."""
        return f"the vendor {self._vendor.name} reported an error in its stream"

    def no_answer(self, words: str) -> AttemptFailed:
        """For a 200 that carries something else than an answer."""
        return self._failed("vendor_error", f"sent {words}")

    def _failed(self, code: str, words: str, *, at_fault: bool = True) -> AttemptFailed:
        return AttemptFailed(code, f"the vendor {self._vendor.name} {words}", at_fault=at_fault)


def _refused(vendor: Vendor, status: int, message: str) -> EngineRefused:
    # Vendors repeat what they got: the key must not come back that way.
    said = message.replace(vendor.key, "…")[:_MOST_CHARACTERS]
    words = f"the vendor {vendor.name} refused the request: {said}"
    return EngineRefused(status, error_body(Condition.ENGINE_REFUSED, words))


def _message(body: bytes) -> str:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "it did not say why"
    value = value.get("error", value) if isinstance(value, dict) else value
    message = value.get("message") if isinstance(value, dict) else value
    return message if isinstance(message, str) else "it did not say why"
