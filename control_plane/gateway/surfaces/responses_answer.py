"""A chat answer as a response (OpenAI's /v1/responses). Pure."""

from typing import Any

from control_plane.gateway.surfaces.answer import named_event
from control_plane.gateway.surfaces.steps import AnswerSteps, Closed, Grew, Kind, Opened, Step
from control_plane.gateway.vendor_metering import dumped_loosely

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
# Of a part: its type, where its text is, and the name of its events.
_PARTS = {
    Kind.TEXT: ("output_text", "text", "output_text"),
    Kind.REFUSAL: ("refusal", "refusal", "refusal"),
    Kind.REASONING: ("reasoning_text", "text", "reasoning_text"),
}
_ITEM_IDS = {Kind.TEXT: "msg", Kind.REFUSAL: "msg", Kind.REASONING: "rs", Kind.CALL: "fc"}


class ResponsesAnswer:
    def __init__(self, body: dict[str, Any]) -> None:
        """`body`: the client's, which has been checked."""
        self._echo = _echo(body)
        self._steps = AnswerSteps()
        self._output: list[dict[str, Any]] = []
        self._open = Kind.TEXT
        self._events_count = 0
        self._begun = False

    def chunk(self, value: dict[str, Any]) -> bytes:
        steps = self._steps.chunk(value)
        return self._beginning() + b"".join(map(self._step, steps))

    def end(self) -> bytes:
        out = self._beginning() + b"".join(map(self._step, self._steps.end()))
        response = self._response(self._status)
        return out + self._event(f"response.{response['status']}", response=response)

    def error(self, error: dict[str, Any]) -> bytes:
        """A response that has begun fails; then comes an event for which OpenAI's clients raise an error."""
        code, message = error.get("code"), str(error.get("message"))
        out = b""
        if self._begun:
            failed = self._response("failed") | {"error": {"code": "server_error", "message": message}}
            out = self._event("response.failed", response=failed)
        told = {"code": code, "message": message, "param": error.get("param")}
        return out + self._event("error", **told, error=error)

    def whole(self, value: dict[str, Any]) -> bytes:
        for step in self._steps.whole(value):
            self._step(step)
        return dumped_loosely(self._response(self._status))

    @property
    def _status(self) -> str:
        return "incomplete" if self._steps.finish in _INCOMPLETE else "completed"

    def _beginning(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        response = self._response("in_progress")
        events = ("response.created", "response.in_progress")
        return b"".join(self._event(name, response=response) for name in events)

    def _step(self, step: Step) -> bytes:
        if isinstance(step, Opened):
            self._open = step.kind
            return self._opened(step)
        return self._grew(step) if isinstance(step, Grew) else self._closed(step)

    def _opened(self, step: Opened) -> bytes:
        # The place in the output is part of the id: no other item has it.
        item: dict[str, Any] = {
            "id": f"{_ITEM_IDS[step.kind]}_{self._steps.id}_{len(self._output)}",
            "status": "in_progress",
        }
        if step.kind is Kind.CALL:
            item |= {"type": "function_call", "call_id": step.call_id, "name": step.name, "arguments": ""}
        elif step.kind is Kind.REASONING:
            item |= {"type": "reasoning", "summary": [], "content": []}
        else:
            item |= {"type": "message", "role": "assistant", "content": []}
        self._output.append(item)
        added = self._event("response.output_item.added", output_index=len(self._output) - 1, item=item)
        if step.kind is Kind.CALL:
            return added
        return added + self._item_event("response.content_part.added", content_index=0, part=self._part(""))

    def _grew(self, step: Grew) -> bytes:
        if self._open is Kind.CALL:
            return self._item_event("response.function_call_arguments.delta", delta=step.text)
        return self._text_event("delta", delta=step.text)

    def _closed(self, step: Closed) -> bytes:
        item = self._output[-1]
        if self._open is Kind.CALL:
            item["arguments"] = step.text
            done = {"arguments": step.text, "name": item["name"]}
            out = self._item_event("response.function_call_arguments.done", **done)
        else:
            part = self._part(step.text)
            item["content"] = [part]
            out = self._text_event("done", **{_PARTS[self._open][1]: step.text})
            out += self._item_event("response.content_part.done", content_index=0, part=part)
        item["status"] = self._status if step.last else "completed"
        return out + self._event("response.output_item.done", output_index=len(self._output) - 1, item=item)

    def _part(self, text: str) -> dict[str, Any]:
        kind, key, _ = _PARTS[self._open]
        part: dict[str, Any] = {"type": kind, key: text}
        return part | {"annotations": [], "logprobs": []} if self._open is Kind.TEXT else part

    def _text_event(self, what: str, **values: Any) -> bytes:
        if self._open is Kind.TEXT:
            values["logprobs"] = []
        return self._item_event(f"response.{_PARTS[self._open][2]}.{what}", content_index=0, **values)

    def _item_event(self, kind: str, **values: Any) -> bytes:
        at = len(self._output) - 1
        return self._event(kind, item_id=self._output[at]["id"], output_index=at, **values)

    def _event(self, kind: str, **values: Any) -> bytes:
        event = named_event({"type": kind, "sequence_number": self._events_count, **values})
        self._events_count += 1
        return event

    def _response(self, status: str) -> dict[str, Any]:
        steps = self._steps
        reason = _INCOMPLETE.get(steps.finish or "") if status == "incomplete" else None
        return {
            "id": f"resp_{steps.id}",
            "object": "response",
            "created_at": steps.created,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": reason} if reason else None,
            "model": steps.model,
            "output": self._output,
            "usage": None if status == "in_progress" else self._usage(),
            **self._echo,
        }

    def _usage(self) -> dict[str, Any] | None:
        """None: the vendor did not say."""
        usage = self._steps.usage
        if usage is None:
            return None
        return {
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        }


def _echo(body: dict[str, Any]) -> dict[str, Any]:
    """What a response repeats of its request, with what holds where the request is silent."""
    reasoning, text = body.get("reasoning") or {}, body.get("text") or {}
    return {
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "metadata": body.get("metadata") or {},
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "temperature": body.get("temperature"),
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_p": body.get("top_p"),
        "reasoning": {"effort": reasoning.get("effort"), "summary": None},
        "text": {"format": {"type": "text"}, **text},
        "background": False,
        "previous_response_id": None,
        "store": False,
        "truncation": "disabled",
    }
