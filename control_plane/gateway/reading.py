"""How the answers of one kind of upstream are read: what ends an attempt, and what is metered.

Engines' are read here; vendors' in their own files.
"""

from typing import Any, Protocol

import orjson

from control_plane.economy import Tokens
from control_plane.gateway.errors import Condition, error_body
from control_plane.gateway.limits import Limits
from control_plane.gateway.metering import Meter, StreamMeter, usage_of_answer
from control_plane.gateway.request import InferenceRequest

# Of the client errors that an engine may answer with, those that are the gateway's fault: a ticket that was
# not accepted, a model that is no longer there, no room.
_OUR_FAULT = frozenset({401, 403, 404, 405, 408, 421, 425, 429})
# What a gate that lets nothing more in says with 503: backpressure, and no fault.
_NOT_NOW = frozenset({"no_capacity", "draining", "pool_refused", "busy", "journal_unwritable"})


# Of an engine's own words that are kept.
MOST_WORDS = 500


class AttemptFailed(Exception):
    """Nothing of an answer came; another candidate may be tried.

    `at_fault`: the candidate, so that it counts against it; else it was busy, or it was ours.
    """

    def __init__(self, code: str, words: str, *, at_fault: bool = True) -> None:
        super().__init__(words)
        self.code = code
        self.words = words
        self.at_fault = at_fault


class AnswerBroken(Exception):
    """The answer ended before its end, after content had gone to the client. `at_fault`: as above."""

    def __init__(self, words: str, *, at_fault: bool = True) -> None:
        super().__init__(words)
        self.at_fault = at_fault


class EngineRefused(Exception):
    """The engine finds the request itself at fault; no other engine would think otherwise."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"the engine answered {status}")
        self.status = status
        self.body = body


class Refusals(Protocol):
    """What it means when one kind of upstream says no."""

    def in_answer(self, status: int, body: bytes) -> AttemptFailed | EngineRefused:
        """To an answer whose status is not 200."""
        ...

    def in_stream(self, error: dict[str, Any]) -> AttemptFailed | EngineRefused:
        """To an error that a stream had in place of its first content."""
        ...

    def words(self, error: dict[str, Any]) -> str:
        """For the client, of an error that a stream had after content."""
        ...


class Reading(Protocol):
    """Of one attempt's answer."""

    @property
    def limits(self) -> Limits: ...

    @property
    def refusals(self) -> Refusals: ...

    def meter(self) -> Meter:
        """For a stream."""
        ...

    def tokens_of(self, body: bytes) -> tuple[Tokens | None, Tokens | None]:
        """Of a whole answer what is claimed, or else what is estimated, or neither. Raises AttemptFailed for
        a body that is no answer."""
        ...


class EngineRefusals:
    def in_answer(self, status: int, body: bytes) -> AttemptFailed | EngineRefused:
        if _is_clients(status):
            return EngineRefused(status, _in_shape(body))
        code = _code_of(body) if status == 503 else None
        if code in _NOT_NOW:
            return AttemptFailed(code, f"the card takes no more calls just now ({code})", at_fault=False)
        # A ticket that was not accepted, a model that is gone, a limit: nothing that the engine did wrong.
        return AttemptFailed(
            f"engine_{status}", f"the engine answered {status}", at_fault=status not in _OUR_FAULT
        )

    def in_stream(self, error: dict[str, Any]) -> AttemptFailed | EngineRefused:
        code = error.get("code")
        if isinstance(code, int) and _is_clients(code):
            return EngineRefused(code, orjson.dumps({"error": error}))
        return AttemptFailed("engine_error", self.words(error))

    def words(self, error: dict[str, Any]) -> str:
        # Stored with the attempt: bounded, and without what PostgreSQL cannot store.
        words = str(error.get("message"))[:MOST_WORDS].replace("\0", "\ufffd")
        return f"the engine reported an error: {words}"


class EngineReading:
    refusals = EngineRefusals()

    def __init__(self, request: InferenceRequest, limits: Limits) -> None:
        self._request = request
        self.limits = limits

    def meter(self) -> StreamMeter:
        return StreamMeter(
            choices=self._request.choices,
            prompts=self._request.prompts,
            keep_usage=self._request.wants_usage,
            keep_running_usage=self._request.wants_running_usage,
            max_event_bytes=self.limits.event_bytes,
        )

    def tokens_of(self, body: bytes) -> tuple[Tokens | None, Tokens | None]:
        return usage_of_answer(body), None


def _is_clients(status: int) -> bool:
    return 400 <= status < 500 and status not in _OUR_FAULT


def _error_in(body: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    error = value.get("error") if isinstance(value, dict) else None
    return error if isinstance(error, dict) else None


def _code_of(body: bytes) -> str | None:
    code = (_error_in(body) or {}).get("code")
    return code if isinstance(code, str) else None


def _in_shape(body: bytes) -> bytes:
    if _error_in(body) is not None:
        return body
    return error_body(Condition.ENGINE_REFUSED, "the engine refused the request")
