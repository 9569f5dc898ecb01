"""What an answer used, read from its bytes as they pass."""

import json
import logging
import re
import time
from collections.abc import MutableMapping
from typing import Any

log = logging.getLogger("daalu.gate")


class UsageMeter:
    """Reads token counts from an answer's bytes as they pass, at one search and one copy a chunk.

    In a stream vLLM's running usage counts one choice's tokens, so the last usage of each choice is kept,
    unparsed; the closing chunk without choices has the sum. `"usage":{` cannot occur inside a JSON string,
    where its quotes would be escaped.
    """

    _USAGE = b'"usage":{'
    _INDEX = re.compile(rb'"choices":\[\{"index":(\d{1,6})[,}]')
    _OBJECT_BYTES_MAX = 4096

    def __init__(self, streaming: bool) -> None:
        self._streaming = streaming
        self._rest = b""
        self._usage: dict[int, bytes] = {}
        self.error = False

    def feed(self, chunk: bytes) -> None:
        data = self._rest + chunk if self._rest else chunk
        if self._streaming:
            *events, self._rest = data.split(b"\n\n")
            for event in events:
                self._event(event)
            return
        start = data.find(self._USAGE)
        self._rest = data[start:][: self._OBJECT_BYTES_MAX] if start >= 0 else data[-len(self._USAGE) :]

    def _event(self, event: bytes) -> None:
        start = event.rfind(self._USAGE)
        if start >= 0:
            index = self._INDEX.search(event, 0, start)
            self._usage[int(index[1]) if index else -1] = event[start:]
        elif event.startswith(b'data: {"error"'):
            self.error = True

    def tokens(self) -> tuple[int, int]:
        """Prompt and completion tokens so far; 0 for what the engine has not told."""
        if not self._streaming and self._rest.startswith(self._USAGE):
            self._usage[-1] = self._rest
        found = [
            self._parse(usage) for usage in ([self._usage[-1]] if -1 in self._usage else self._usage.values())
        ]
        return max((prompt for prompt, _ in found), default=0), sum(completion for _, completion in found)

    def _parse(self, usage: bytes) -> tuple[int, int]:
        try:
            counts, _ = json.JSONDecoder().raw_decode(usage[len(self._USAGE) - 1 :].decode())
            return int(counts.get("prompt_tokens") or 0), int(counts.get("completion_tokens") or 0)
        except (ValueError, TypeError) as error:
            log.warning("cannot read the engine's usage: %s", error)
            return 0, 0


class Answer:
    """What has been seen of one answer, and the receipt's ending that follows from it."""

    def __init__(self) -> None:
        self.status = 0
        self.first_byte_unix_ms = 0
        self.ended = self.caller_gone = False
        self._meter: UsageMeter | None = None

    def see(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            kind = next(
                (value for name, value in message.get("headers", ()) if name.lower() == b"content-type"), b""
            )
            self._meter = UsageMeter(streaming=kind.startswith(b"text/event-stream"))
        elif message["type"] == "http.response.body":
            body = message.get("body", b"")
            if body and self._meter is not None:
                if not self.first_byte_unix_ms and self.status < 300:
                    self.first_byte_unix_ms = time.time_ns() // 1_000_000
                self._meter.feed(body)
            self.ended = not message.get("more_body", False)

    def ending(self) -> dict[str, Any]:
        prompt_tokens, completion_tokens = self._meter.tokens() if self._meter else (0, 0)
        if self.caller_gone:
            outcome = "CALLER_GONE"
        elif not self.ended or self.status >= 500 or (self._meter is not None and self._meter.error):
            outcome = "ENGINE_ERROR"
        else:
            outcome = "COMPLETE"
        return {
            "http_status": self.status,
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "first_byte_unix_ms": self.first_byte_unix_ms,
            "ended_unix_ms": time.time_ns() // 1_000_000,
            "outcome": outcome,
        }
