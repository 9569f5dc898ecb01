"""A chat answer as a message (Anthropic's /v1/messages). Pure."""

from typing import Any

import orjson

from control_plane.gateway.errors import Condition
from control_plane.gateway.surfaces.answer import named_event
from control_plane.gateway.surfaces.steps import AnswerSteps, Closed, Grew, Kind, Opened, Step
from control_plane.gateway.vendor_metering import dumped_loosely, parsed_loosely

_STOP_REASONS = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_ERROR_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
# Of a block that grows: the type of its deltas, and where they have the text.
_DELTAS = {
    Kind.TEXT: ("text_delta", "text"),
    Kind.REFUSAL: ("text_delta", "text"),
    Kind.REASONING: ("thinking_delta", "thinking"),
    Kind.CALL: ("input_json_delta", "partial_json"),
}
_STATUS_OF_CODE = {condition.value.code: condition.value.status for condition in Condition}
_PING = named_event({"type": "ping"})


class MessagesAnswer:
    def __init__(self, stop_sequences: list[str], *, thinking: bool) -> None:
        """`thinking`: whether the engine's reasoning is shown."""
        self._stop_sequences = stop_sequences
        self._thinking = thinking
        self._steps = AnswerSteps()
        self._content: list[dict[str, Any]] = []
        self._open = Kind.TEXT
        self._begun = False

    def chunk(self, value: dict[str, Any]) -> bytes:
        steps = self._steps.chunk(value)
        out = self._beginning() + b"".join(map(self._step, steps))
        # Reasoning that is not shown takes its time: something must go out.
        return out or (_PING if steps else b"")

    def end(self) -> bytes:
        out = self._beginning() + b"".join(map(self._step, self._steps.end()))
        delta = {"stop_reason": self._stop_reason, "stop_sequence": self._stop_sequence}
        out += named_event({"type": "message_delta", "delta": delta, "usage": self._usage()})
        return out + named_event({"type": "message_stop"})

    def error(self, error: dict[str, Any]) -> bytes:
        return named_event(_error(_status_of(error), error))

    def whole(self, value: dict[str, Any]) -> bytes:
        for step in self._steps.whole(value):
            self._step(step)
        return dumped_loosely(self._message(self._stop_reason))

    def _beginning(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        return named_event({"type": "message_start", "message": self._message(None)})

    def _step(self, step: Step) -> bytes:
        if isinstance(step, Opened):
            self._open = step.kind
        if self._open is Kind.REASONING and not self._thinking:
            return b""
        if isinstance(step, Opened):
            return self._opened(step)
        at = len(self._content) - 1
        if isinstance(step, Grew):
            kind, key = _DELTAS[self._open]
            delta = {"type": kind, key: step.text}
            return named_event({"type": "content_block_delta", "index": at, "delta": delta})
        self._close(self._content[at], step)
        return named_event({"type": "content_block_stop", "index": at})

    def _opened(self, step: Opened) -> bytes:
        block: dict[str, Any]
        if step.kind is Kind.CALL:
            block = {"type": "tool_use", "id": step.call_id, "name": step.name, "input": {}}
        elif step.kind is Kind.REASONING:
            # What was not made by Anthropic's models has no signature of theirs.
            block = {"type": "thinking", "thinking": "", "signature": ""}
        else:
            block = {"type": "text", "text": ""}
        self._content.append(block)
        index = len(self._content) - 1
        return named_event({"type": "content_block_start", "index": index, "content_block": block})

    def _close(self, block: dict[str, Any], step: Closed) -> None:
        if self._open is Kind.CALL:
            block["input"] = _input(step.text)
        else:
            block[_DELTAS[self._open][1]] = step.text

    @property
    def _stop_sequence(self) -> str | None:
        stop = self._steps.stop
        return stop if stop in self._stop_sequences else None

    @property
    def _stop_reason(self) -> str:
        finish = self._steps.finish
        if finish in _STOP_REASONS:
            return _STOP_REASONS[finish]
        if self._steps.calls:
            # Where the request named the tool, engines end with an ordinary stop.
            return "tool_use"
        return "stop_sequence" if self._stop_sequence is not None else "end_turn"

    def _message(self, stop_reason: str | None) -> dict[str, Any]:
        return {
            "id": f"msg_{self._steps.id}",
            "type": "message",
            "role": "assistant",
            "model": self._steps.model,
            "content": self._content,
            "stop_reason": stop_reason,
            "stop_sequence": self._stop_sequence if stop_reason else None,
            "usage": self._usage(),
        }

    def _usage(self) -> dict[str, int]:
        """Zeros where a vendor tells none. The input has no cached tokens in it."""
        usage = self._steps.usage
        cached = usage.cached_tokens if usage else 0
        return {
            "input_tokens": usage.prompt_tokens - cached if usage else 0,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": cached,
            "output_tokens": usage.completion_tokens if usage else 0,
        }


def error_body(status: int, body: bytes) -> bytes:
    """`body`: as chat's clients get it."""
    error = (parsed_loosely(body) or {}).get("error")
    return orjson.dumps(_error(status, error if isinstance(error, dict) else {}))


def _error(status: int, error: dict[str, Any]) -> dict[str, Any]:
    kind = _ERROR_TYPES.get(status) or ("invalid_request_error" if status < 500 else "api_error")
    # The code is ours: it tells a quota that is used up from a limit per minute.
    told = {"type": kind, "message": str(error.get("message")), "code": error.get("code")}
    return {"type": "error", "error": told}


def _status_of(error: dict[str, Any]) -> int:
    """What would have been the answer's status, had it not begun. Engines' own errors say it themselves."""
    code = error.get("code")
    return code if isinstance(code, int) else _STATUS_OF_CODE.get(str(code), 500)


def _input(arguments: str) -> dict[str, Any]:
    """Arguments that are no object, cut off by max_tokens perhaps, are passed on as Anthropic's own advice
    has it."""
    try:
        value = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        value = None
    return value if isinstance(value, dict) else {"INVALID_JSON": arguments}
