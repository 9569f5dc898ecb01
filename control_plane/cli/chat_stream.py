"""The words of a streamed chat completion, out of its server-sent events. Pure."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from control_plane.cli.failure import Failure


def deltas(lines: Iterable[str]) -> Iterator[str]:
    """Content and reasoning as they come. Raises Failure for an error event, and where the end is missing."""
    for line in lines:
        # Comments keep the connection open, and one line is one event here.
        if not line.startswith("data:"):
            continue
        text = line.removeprefix("data:").strip()
        if text == "[DONE]":
            return
        try:
            event: dict[str, Any] = json.loads(text)
            if "error" in event:
                raise Failure(f"the answer broke off: {event['error']['message']}")
            for choice in event["choices"]:
                delta = choice["delta"]
                yield from filter(None, (delta.get("reasoning_content"), delta.get("content")))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Failure("the answer broke off: what came is no chat completion") from error
    raise Failure("the answer broke off before its end")
