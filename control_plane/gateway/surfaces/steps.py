"""A chat answer, whole or in chunks, as steps: parts that are opened, grow and are closed. Pure.

Surfaces show one part after the other, so a part that begins while another is open waits until that one is
whole. Engines make parts in order; only the calls of tools could be interleaved, and a call is known to be
whole when its arguments are.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

import orjson

from control_plane.gateway.reading import AnswerBroken

# Of one answer; 2 million tokens of English.
MOST_CHARACTERS = 8 * 1024 * 1024
MOST_CALLS = 128


class Kind(StrEnum):
    TEXT = "text"
    REASONING = "reasoning"
    REFUSAL = "refusal"
    CALL = "call"


@dataclass(frozen=True, slots=True)
class Opened:
    kind: Kind
    # Of a call.
    call_id: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Grew:
    text: str


@dataclass(frozen=True, slots=True)
class Closed:
    text: str
    # The answer ends with this part.
    last: bool


Step: TypeAlias = Opened | Grew | Closed


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int
    completion_tokens: int
    # Of the prompt's and of the completion's.
    cached_tokens: int
    reasoning_tokens: int


@dataclass(slots=True)
class _Part:
    kind: Kind
    call_id: str = ""
    name: str = ""
    written: list[str] = field(default_factory=list)
    pending: str = ""
    opened: bool = False
    closed: bool = False
    # Pieces of `written` when it was looked at last, and what it was.
    _read: int = 0
    _is_object: bool = False

    @property
    def whole(self) -> bool:
        """Whether it ends where another part begins."""
        if self.kind is not Kind.CALL:
            return True
        # Asked again for every chunk of another call: read again only where it has grown.
        if self._read != len(self.written):
            self._read = len(self.written)
            try:
                self._is_object = isinstance(orjson.loads("".join(self.written)), dict)
            except orjson.JSONDecodeError:
                self._is_object = False
        return self._is_object


class AnswerSteps:
    """Of the one choice that a surface's answer has. Raises AnswerBroken for one that is too large to keep:
    the last event of these surfaces has the whole text again."""

    def __init__(self) -> None:
        self._room = MOST_CHARACTERS
        self._parts: deque[_Part] = deque()
        self._calls: dict[int, _Part] = {}
        self.id = ""
        self.created = 0
        self.model = ""
        # What chat says of the end, None until it does, and the stop sequence that made it.
        self.finish: str | None = None
        self.stop: str | None = None
        self.usage: Usage | None = None
        # Whether there was any call of a tool.
        self.calls = False

    def chunk(self, value: dict[str, Any]) -> list[Step]:
        """Raises AnswerBroken for a chunk that goes on with what was whole."""
        choice = self._begin(value)
        self._take(_object(choice.get("delta")))
        return self._advance(final=self.finish is not None)

    def whole(self, value: dict[str, Any]) -> list[Step]:
        self._take(_object(self._begin(value).get("message")))
        return self.end()

    def end(self) -> list[Step]:
        """What is open is closed."""
        return self._advance(final=True)

    def _begin(self, value: dict[str, Any]) -> dict[str, Any]:
        if not self.id:
            self.id = str(value.get("id") or "").removeprefix("chatcmpl-")
            self.created = _count(value.get("created"))
            self.model = str(value.get("model") or "")
        if isinstance(usage := value.get("usage"), dict):
            self.usage = _usage(usage)
        choices = value.get("choices")
        choice = _object(choices[0]) if isinstance(choices, list) and choices else {}
        if isinstance(finish := choice.get("finish_reason"), str):
            self.finish = finish
            # vLLM's own: the sequence, or the number of the token.
            stop = choice.get("stop_reason")
            self.stop = stop if isinstance(stop, str) else None
        return choice

    def _take(self, said: dict[str, Any]) -> None:
        # Where both are there they are the same.
        self._grow(Kind.REASONING, said.get("reasoning") or said.get("reasoning_content"))
        self._grow(Kind.TEXT, said.get("content"))
        self._grow(Kind.REFUSAL, said.get("refusal"))
        calls = said.get("tool_calls")
        for number, each in enumerate(calls if isinstance(calls, list) else ()):
            call = _object(each)
            self._grow_call(_count(call.get("index", number)), call)

    def _grow(self, kind: Kind, text: object) -> None:
        if not isinstance(text, str) or not text:
            return
        if not self._parts or self._parts[-1].kind is not kind:
            self._parts.append(_Part(kind))
        self._parts[-1].pending += text
        self._spend(len(text))

    def _grow_call(self, index: int, call: dict[str, Any]) -> None:
        function = _object(call.get("function"))
        part = self._calls.get(index)
        if part is None:
            part = self._calls[index] = _Part(Kind.CALL)
            self._parts.append(part)
            self.calls = True
        arguments = str(function.get("arguments") or "")
        if part.closed:
            if arguments.strip():
                raise AnswerBroken("the engine went on with the arguments of a call that were whole")
            return
        part.call_id = part.call_id or str(call.get("id") or "")
        part.name = part.name or str(function.get("name") or "")
        part.pending += arguments
        self._spend(len(arguments))

    def _spend(self, characters: int) -> None:
        self._room -= characters
        if self._room < 0 or len(self._calls) > MOST_CALLS:
            raise AnswerBroken(
                f"the answer has more than {MOST_CHARACTERS} characters or {MOST_CALLS} calls of tools",
                at_fault=False,
            )

    def _advance(self, *, final: bool) -> list[Step]:
        steps: list[Step] = []
        while self._parts:
            part = self._parts[0]
            if not part.opened:
                if part.kind is Kind.CALL and not part.name and not final:
                    break
                part.opened = True
                steps.append(Opened(part.kind, part.call_id, part.name))
            if part.pending:
                steps.append(Grew(part.pending))
                part.written.append(part.pending)
                part.pending = ""
            others = len(self._parts) > 1
            if not final and not (others and part.whole):
                break
            part.closed = True
            self._parts.popleft()
            steps.append(Closed("".join(part.written), last=final and not others))
        return steps


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def _usage(usage: dict[str, Any]) -> Usage:
    return Usage(
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
        _count(_object(usage.get("prompt_tokens_details")).get("cached_tokens")),
        _count(_object(usage.get("completion_tokens_details")).get("reasoning_tokens")),
    )
