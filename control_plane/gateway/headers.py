"""The headers of a request that the gateway reads."""

from dataclasses import dataclass

from control_plane.gateway.ports import Headers


@dataclass(frozen=True, slots=True)
class RequestHeaders:
    """All others are ignored and never forwarded."""

    authorization: str | None
    content_length: int | None
    purpose: str | None


def read_headers(raw: Headers) -> RequestHeaders:
    authorization: str | None = None
    content_length: int | None = None
    purpose: str | None = None
    for name, value in raw:
        if name == b"authorization":
            authorization = value.decode("latin-1")
        elif name == b"content-length":
            content_length = int(value) if value.isdigit() and len(value) < 20 else None
        elif name == b"x-daalu-purpose":
            purpose = value.decode("latin-1").strip().lower()
    return RequestHeaders(authorization, content_length, purpose)
