"""Conditions that end a call before its answer, and the one table that translates them to HTTP."""

from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import NamedTuple

import orjson


class FallThrough(StrEnum):
    """What a refusal means to the router: whether another tier may still serve the call. The header
    x-daalu-fall-through of a refusal."""

    NO = "no"
    # To the external tier, if the tenant's overage policy says so.
    EXTERNAL_IF_ALLOWED = "external_if_allowed"
    NEXT_TIER = "next_tier"


class _Http(NamedTuple):
    code: str
    status: int
    type: str
    fall_through: FallThrough = FallThrough.NO


_REQUEST = "invalid_request_error"
_SERVER = "server_error"


class Condition(Enum):
    """What went wrong, and how it looks over HTTP: (code, status, type) as OpenAI's clients know them."""

    NO_KEY = _Http("invalid_api_key", 401, _REQUEST)
    UNKNOWN_PATH = _Http("unknown_url", 404, _REQUEST)
    WRONG_METHOD = _Http("method_not_allowed", 405, _REQUEST)
    HEADERS_TOO_LARGE = _Http("headers_too_large", 431, _REQUEST)
    BODY_TOO_LARGE = _Http("body_too_large", 413, _REQUEST)
    BODY_TOO_SLOW = _Http("request_timeout", 408, _REQUEST)
    INVALID_JSON = _Http("invalid_json", 400, _REQUEST)
    INVALID_VALUE = _Http("invalid_value", 400, _REQUEST)
    MODEL_NOT_FOUND = _Http("model_not_found", 404, _REQUEST)
    CONTEXT_TOO_LONG = _Http("context_length_exceeded", 400, _REQUEST)
    # The engine found the request at fault; its own words go to the client.
    ENGINE_REFUSED = _Http("engine_refused", 400, _REQUEST)
    NO_CAPACITY = _Http("no_capacity", 503, _SERVER, FallThrough.EXTERNAL_IF_ALLOWED)
    # Pools and vendors.
    RATE_LIMITED = _Http("rate_limited", 429, "rate_limit_error")
    QUOTA_EXCEEDED = _Http("quota_exceeded", 429, "insufficient_quota", FallThrough.EXTERNAL_IF_ALLOWED)
    SPEND_CAP_REACHED = _Http("spend_cap_reached", 429, "insufficient_quota")
    NOT_ENTITLED = _Http("not_entitled", 403, _REQUEST, FallThrough.NEXT_TIER)
    FIELD_NOT_SHARED = _Http("field_not_shared", 400, _REQUEST)
    OVERLOADED = _Http("overloaded", 503, _SERVER)
    UNRECORDABLE = _Http("records_unavailable", 503, _SERVER)
    ENGINE_FAILED = _Http("engine_failed", 502, _SERVER)
    ENGINE_TIMEOUT = _Http("engine_timeout", 504, _SERVER)
    STREAM_BROKEN = _Http("stream_broken", 502, _SERVER)
    INTERNAL = _Http("internal_error", 500, _SERVER)


class Refusal(Exception):
    """Ends a call with an error that its client can act on."""

    def __init__(
        self,
        condition: Condition,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.condition = condition
        self.message = message
        self.param = param
        self.headers = dict(headers or {})

    @property
    def code(self) -> str:
        return self.condition.value.code

    @property
    def status(self) -> int:
        return self.condition.value.status

    def body(self) -> bytes:
        return error_body(self.condition, self.message, self.param)


class ClientGone(Exception):
    """The client closed its connection, or accepted nothing for too long."""


def error_body(condition: Condition, message: str, param: str | None = None) -> bytes:
    """In OpenAI's shape."""
    http = condition.value
    return orjson.dumps({"error": {"message": message, "type": http.type, "param": param, "code": http.code}})


def error_event(condition: Condition, message: str) -> bytes:
    """The same as a server-sent event, for a stream that has begun. No end marker follows it."""
    return b"data: " + error_body(condition, message) + b"\n\n"
