"""The text of an answer, kept for the gateway's own count of its tokens. Pure: bytes in, text out.

Events are kept as they are and read some 110 at a time: 0.4 ms for each 32 KiB of them, 3 µs an event. Kept
whole, an answer of 32,768 tokens would hold 11 MB, since every chunk repeats the running usage; what is kept
of it is 0.3 MB.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from control_plane.catalogue import ChoiceText, ToolCallText

# Read at once; also what is kept unread.
MOST_UNREAD_BYTES = 32 * 1024
# All that is kept of an answer. What comes after it is not counted, so that the count is then a least one:
# no more than that is paid for, whatever the engine claims.
MOST_CHARACTERS = 4 * 1024 * 1024
MOST_TOOL_CALLS = 128


class CollectedAnswer:
    """One attempt's answer: what the client's transport has accepted, and no more."""

    def __init__(self, *, choices: int) -> None:
        """`choices`: how many the request asks for, over all of its prompts; others are ignored."""
        self._most_choices = choices
        self._unread: list[bytes] = []
        self._unread_bytes = 0
        self._body = b""
        self._choices: dict[int, _Choice] = {}
        self._room = MOST_CHARACTERS
        # Of so_far(): all that it ever has.
        self._fixed: tuple[ChoiceText, ...] | None = None

    def events(self, data: bytes) -> None:
        """Whole server-sent events, one or several, with their ends."""
        self._unread.append(data)
        self._unread_bytes += len(data)
        if self._unread_bytes >= MOST_UNREAD_BYTES:
            self._read()

    def whole(self, body: bytes) -> None:
        """The body of an answer that is not streamed. It is read by choices()."""
        self._body = body

    def choices(self) -> tuple[ChoiceText, ...]:
        """What came until now, in the order of the choices. A large body takes a while: call it in a thread,
        with nothing more given meanwhile."""
        if self._fixed is not None:
            return self._fixed
        self._read()
        if self._body:
            self._take(_object(self._body), "message")
            self._body = b""
        return tuple(self._choices[index].text() for index in sorted(self._choices))

    def so_far(self) -> "CollectedAnswer":
        """What came until now, by itself. For streams: little of one is unread, so it takes no thread."""
        taken = CollectedAnswer(choices=self._most_choices)
        taken._fixed = self.choices()
        return taken

    def _read(self) -> None:
        events = b"".join(self._unread)
        self._unread.clear()
        self._unread_bytes = 0
        for event in events.split(b"\n\n"):
            if event.startswith(b"data: {"):
                self._take(_object(event[6:]), "delta")
        for choice in self._choices.values():
            choice.close_up()

    def _take(self, payload: Mapping[str, Any], part: str) -> None:
        choices = payload.get("choices")
        for found in choices if isinstance(choices, list) else ():
            index = found.get("index") if isinstance(found, dict) else None
            if not isinstance(index, int) or not 0 <= index < self._most_choices or self._room <= 0:
                continue
            choice = self._choices.setdefault(index, _Choice())
            self._room -= choice.take(found, part)


class _Pieces:
    """A text that comes in pieces. A piece by itself holds ten times its characters."""

    def __init__(self) -> None:
        self._joined: list[str] = []
        self._fresh: list[str] = []

    def add(self, text: Any) -> int:
        """Returns the number of characters taken."""
        if not isinstance(text, str) or not text:
            return 0
        self._fresh.append(text)
        return len(text)

    def close_up(self) -> None:
        if self._fresh:
            self._joined.append("".join(self._fresh))
            self._fresh.clear()

    def text(self) -> str:
        return "".join(self._joined + self._fresh)


class _Choice:
    def __init__(self) -> None:
        self._content = _Pieces()
        self._reasoning = _Pieces()
        # Names and arguments, by the call's place.
        self._tool_calls: dict[int, tuple[_Pieces, _Pieces]] = {}
        self._finish_reason: str | None = None
        self._stopped_by: str | None = None

    def take(self, found: Mapping[str, Any], part: str) -> int:
        """Returns the number of characters taken."""
        taken = 0
        said = found.get(part)
        if isinstance(said, dict):
            taken += self._content.add(said.get("content"))
            # Most events have content and nothing else.
            if not taken or len(said) > 1:
                # An engine that sends both names sends the same under both.
                taken += self._reasoning.add(said.get("reasoning") or said.get("reasoning_content"))
                calls = said.get("tool_calls")
                for place, call in enumerate(calls if isinstance(calls, list) else ()):
                    taken += self._take_tool_call(place, call)
        else:
            taken += self._content.add(found.get("text"))
        finish_reason = found.get("finish_reason")
        if isinstance(finish_reason, str):
            self._finish_reason = finish_reason
            stop = found.get("stop_reason")
            self._stopped_by = stop if isinstance(stop, str) else None
        return taken

    def close_up(self) -> None:
        for pieces in (self._content, self._reasoning, *(each for _, each in self._tool_calls.values())):
            pieces.close_up()

    def text(self) -> ChoiceText:
        return ChoiceText(
            content=self._content.text(),
            reasoning=self._reasoning.text(),
            tool_calls=tuple(
                ToolCallText(name.text(), arguments.text())
                for _, (name, arguments) in sorted(self._tool_calls.items())
            ),
            finish_reason=self._finish_reason,
            stopped_by=self._stopped_by,
        )

    def _take_tool_call(self, place: int, call: Any) -> int:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            return 0
        # A whole answer's calls stand in order and have no number.
        index = call.get("index")
        if not isinstance(index, int):
            index = place
        if index not in self._tool_calls and len(self._tool_calls) >= MOST_TOOL_CALLS:
            return 0
        name, arguments = self._tool_calls.setdefault(index, (_Pieces(), _Pieces()))
        return name.add(function.get("name")) + arguments.add(function.get("arguments"))


def _object(payload: bytes) -> Mapping[str, Any]:
    try:
        value = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
