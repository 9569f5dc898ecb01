"""The headers of a request that the gateway reads."""

from dataclasses import dataclass

from control_plane.gateway.errors import Condition, Refusal
from control_plane.gateway.ports import Headers


@dataclass(frozen=True, slots=True)
class RequestHeaders:
    """All others are ignored and never forwarded."""

    authorization: str | None
    # Where Anthropic's clients have it.
    api_key: str | None
    content_length: int | None
    purpose: str | None


def read_headers(raw: Headers) -> RequestHeaders:
    """Raises Refusal for two of one name that do not agree."""
    authorization: str | None = None
    api_key: str | None = None
    content_length: int | None = None
    purpose: str | None = None
    for name, value in raw:
        if name == b"authorization":
            authorization = _one(authorization, value.decode("latin-1"), "authorization")
        elif name == b"x-api-key":
            api_key = _one(api_key, value.decode("latin-1").strip(), "x-api-key")
        elif name == b"content-length":
            content_length = int(value) if value.isdigit() and len(value) < 20 else None
        elif name == b"x-daalu-purpose":
            # What was declared once is not undeclared by a second header.
            purpose = _one(purpose, value.decode("latin-1").strip().lower(), "x-daalu-purpose")
    return RequestHeaders(authorization, api_key, content_length, purpose)


def _one(before: str | None, value: str, name: str) -> str:
    if before is not None and before != value:
        message = f"there are two {name} headers, and they do not agree"
        raise Refusal(Condition.INVALID_VALUE, message, param=name)
    return value
