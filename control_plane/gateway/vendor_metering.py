"""What metering reads of a vendor's answer. Pure: bytes in, bytes out.

Vendors differ where vLLM does not: usage once at the end, in every chunk, as null, or never; line ends; JSON
over several lines; no end marker. Every event is parsed: these calls are few beside those of cards.

Where a vendor tells no usage, it is estimated: for the answer one token for each piece that had text, or one
for each four bytes of it in UTF-8, whichever is more, and never more than was held. That is near what the
vendor bills for most texts; where it is wrong, the hold bounds it for the tenant.
"""

import json
from dataclasses import dataclass
from typing import Any

import orjson

from control_plane.economy import Tokens
from control_plane.gateway.event_stream import EventReader
from control_plane.gateway.metering import StreamTooLarge, is_count

BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Estimate:
    """What stands in for usage that a vendor does not tell; the answer's bound is over all choices."""

    prompt_tokens: int
    most_completion_tokens: int

    def completion(self, pieces: int, text_bytes: int) -> int:
        return min(max(pieces, -(-text_bytes // BYTES_PER_TOKEN)), self.most_completion_tokens)


class NotAnAnswer(Exception):
    """A body that came as an answer is none. The message says what it is instead."""


class VendorMeter:
    """One attempt's stream, with StreamMeter's face. Nothing comes out before the first content.

    What comes out is one `data` line an event, without comments; JSON values are the vendor's, but for usage
    that the client did not ask for.
    """

    def __init__(self, *, choices: int, keep_usage: bool, max_event_bytes: int, estimate: Estimate) -> None:
        """`choices`: over all prompts."""
        self._choices = choices
        self._keep_usage = keep_usage
        self._max_event_bytes = max_event_bytes
        self._estimate = estimate
        self._events = EventReader(max_event_bytes)
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._claimed: Tokens | None = None
        self._pieces = 0
        self._text_bytes = 0
        self._delivered = 0
        self._finished: set[int] = set()
        # The first content has been seen.
        self.content = False
        # The end has been seen: the end marker, which does not come out, or the end of the stream after every
        # choice had finished.
        self.done = False
        # What the vendor sent in place of an answer, the value of its "error".
        self.error: dict[str, Any] | None = None

    def feed(self, data: bytes) -> bytes:
        """What may go to the client now. No data says that the stream has ended. Raises StreamTooLarge."""
        out: list[bytes] = []
        for event in self._events.feed(data) if data else self._events.end():
            if self.done or self.error is not None:
                break
            if kept := self._read(event, whole=bool(data)):
                out.append(kept)
        if not data and self.error is None and len(self._finished) >= self._choices:
            self.done = True
        return b"".join(out)

    @property
    def claimed(self) -> Tokens | None:
        """What the vendor says that it bills; None: it has not said."""
        return self._claimed

    @property
    def claimed_delivered(self) -> Tokens | None:
        """As `delivered`, by the vendor's word; None: it has not said."""
        return self.delivered if self._claimed is not None else None

    @property
    def estimated_delivered(self) -> Tokens | None:
        """As `delivered`, by the estimate; None: the vendor has said."""
        return self.delivered if self._claimed is None else None

    @property
    def generated(self) -> Tokens:
        """What the vendor has told so far, or the estimate. The prompt counts from the start."""
        if self._claimed is not None:
            return self._claimed
        return Tokens(self._estimate.prompt_tokens, self._estimate.completion(self._pieces, self._text_bytes))

    @property
    def delivered(self) -> Tokens:
        """The prompt, and the answer up to the last mark_delivered()."""
        generated = self.generated
        return Tokens(generated.prompt, min(self._delivered, generated.completion))

    def mark_delivered(self) -> None:
        """Everything that came out so far was accepted by the client's transport."""
        self._delivered = self.generated.completion

    def _read(self, event: bytes, *, whole: bool) -> bytes:
        if event.strip() == b"[DONE]":
            self.done = True
            return b""
        value = parsed_loosely(event)
        if value is None:
            if whole and event.strip():
                self.error = {"message": "an event of its stream is no JSON object"}
            return b""
        self.error = _error_of(value)
        if self.error is not None:
            return b""
        choices = _choices_of(value)
        for choice in choices:
            self._count(choice)
        kept = self._without_usage(event, value, choices)
        if self.content:
            return kept
        return self._hold(kept, choices)

    def _count(self, choice: dict[str, Any]) -> None:
        if size := _text_bytes(choice, "delta"):
            self._pieces += 1
            self._text_bytes += size
        index = choice.get("index")
        if choice.get("finish_reason"):
            self._finished.add(index if isinstance(index, int) else 0)

    def _without_usage(self, event: bytes, value: dict[str, Any], choices: list[dict[str, Any]]) -> bytes:
        """The event as it goes out, or nothing. Takes the claim from it."""
        changed = b"\n" in event
        if "usage" in value:
            self._claimed = _claimed(value["usage"]) or self._claimed
            if not self._keep_usage:
                if value["usage"] and not choices:
                    return b""
                del value["usage"]
                changed = True
        return b"data: " + (dumped_loosely(value) if changed else event) + b"\n\n"

    def _hold(self, kept: bytes, choices: list[dict[str, Any]]) -> bytes:
        self._held.append(kept)
        self._held_bytes += len(kept)
        if any(map(_is_content, choices)):
            self.content = True
            out = b"".join(self._held)
            self._held.clear()
            return out
        if self._held_bytes > self._max_event_bytes:
            raise StreamTooLarge(f"more than {self._max_event_bytes} bytes before the first content")
        return b""


def tokens_of_answer(body: bytes, estimate: Estimate) -> tuple[Tokens | None, Tokens | None]:
    """Of a whole answer what the vendor says that it bills, or else the estimate. Raises NotAnAnswer."""
    value = parsed_loosely(body)
    if value is None:
        raise NotAnAnswer("no JSON object")
    if _error_of(value) is not None:
        raise NotAnAnswer("an error with status 200")
    choices = _choices_of(value)
    if not choices:
        raise NotAnAnswer("an object without choices")
    claimed = _claimed(value.get("usage"))
    if claimed is not None:
        return claimed, None
    text_bytes = sum(_text_bytes(choice, "message") for choice in choices)
    return None, Tokens(estimate.prompt_tokens, estimate.completion(len(choices), text_bytes))


def _claimed(usage: object) -> Tokens | None:
    """What a vendor bills by its own word; None where it says nothing that can be used."""
    if not isinstance(usage, dict):
        return None
    prompt, completion, total = (
        usage.get(name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    )
    if not is_count(prompt) or not is_count(completion):
        return None
    # Some leave reasoning out of the completion, and bill for it: only the total has it.
    return Tokens(prompt, max(completion, total - prompt) if is_count(total) else completion)


def parsed_loosely(event: bytes) -> dict[str, Any] | None:
    """None: no JSON object."""
    try:
        value = orjson.loads(event)
    except orjson.JSONDecodeError:
        try:
            # Some servers split a character in two halves, which orjson does not take.
            value = json.loads(event)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def dumped_loosely(value: object) -> bytes:
    """Of a value that parsed_loosely() gave."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return json.dumps(value).encode()


def _error_of(value: dict[str, Any]) -> dict[str, Any] | None:
    error = value.get("error")
    if not error:
        return None
    return error if isinstance(error, dict) else {"message": str(error)}


def _choices_of(value: dict[str, Any]) -> list[dict[str, Any]]:
    choices = value.get("choices")
    return [each for each in choices if isinstance(each, dict)] if isinstance(choices, list) else []


def _is_content(choice: dict[str, Any]) -> bool:
    delta = choice.get("delta")
    if choice.get("text") or choice.get("finish_reason"):
        return True
    return isinstance(delta, dict) and any(value for key, value in delta.items() if key != "role")


def _text_bytes(choice: dict[str, Any], where: str) -> int:
    """Of all that the model wrote in this choice: text, reasoning, calls of tools."""
    said = choice.get(where)
    if not isinstance(said, dict):
        return _size(choice.get("text"))
    calls = said.get("tool_calls")
    functions = (
        [each.get("function") for each in calls if isinstance(each, dict)] if isinstance(calls, list) else []
    )
    functions.append(said.get("function_call"))
    size = _size(said.get("content")) + _size(said.get("refusal"))
    # Where both are there they are the same.
    size += _size(said.get("reasoning_content") or said.get("reasoning"))
    for function in functions:
        if isinstance(function, dict):
            size += _size(function.get("name")) + _size(function.get("arguments"))
    return size


def _size(text: object) -> int:
    if isinstance(text, str):
        return len(text.encode(errors="surrogatepass"))
    return len(dumped_loosely(text)) if text else 0
