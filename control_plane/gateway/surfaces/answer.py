"""What translates a chat answer into a surface's own. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from control_plane.gateway.vendor_metering import dumped_loosely


class Answer(Protocol):
    """Of one call. Values are chat's; what comes out are whole server-sent events or a whole body."""

    def chunk(self, value: dict[str, Any]) -> bytes:
        """Raises AnswerBroken."""
        ...

    def end(self) -> bytes:
        """The last events, the end marker among them."""
        ...

    def error(self, error: dict[str, Any]) -> bytes:
        """In place of the end, `error` as chat's clients get it."""
        ...

    def whole(self, value: dict[str, Any]) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Translated:
    chat_body: dict[str, Any]
    answer: Answer


Translate = Callable[[dict[str, Any]], Translated]


def named_event(value: dict[str, Any]) -> bytes:
    """An event with the name that is its type."""
    return b"event: " + str(value["type"]).encode() + b"\ndata: " + dumped_loosely(value) + b"\n\n"
