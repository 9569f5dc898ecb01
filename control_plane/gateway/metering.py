"""What metering reads of a stream of events, and takes out of it. Pure: bytes in, bytes out.

Works on bytes: inside a JSON string a quote is always escaped, so `"usage":{` can only be the key. Events
are as vLLM sends them, one `data:` line each and one choice in each chunk.
"""

import re
from typing import Any, Protocol, TypeGuard

import orjson

from control_plane.economy import Tokens

END_MARKER = b"data: [DONE]\n\n"

# Braces two levels deep: usage has objects of counts in it, and those may have too.
_USAGE = re.compile(rb',"usage":(\{[^{}]*+(?:\{[^{}]*+(?:\{[^{}]*+\}[^{}]*+)*+\}[^{}]*+)*+\})')
_CHOICE = re.compile(rb'"choices":\[\{"index":(\d+)')


class StreamTooLarge(Exception):
    """An event, or what came before the first content, is larger than allowed."""


# No call has more; what claims more is no count.
MOST_TOKENS = 1_000_000_000

NO_TOKENS = Tokens()


class Meter(Protocol):
    """What a relay and the core of a call need of a meter; StreamMeter says what each is."""

    content: bool
    done: bool
    error: dict[str, Any] | None

    def feed(self, data: bytes) -> bytes: ...
    def mark_delivered(self) -> None: ...
    @property
    def claimed(self) -> Tokens | None: ...
    @property
    def claimed_delivered(self) -> Tokens | None: ...
    @property
    def estimated_delivered(self) -> Tokens | None: ...
    @property
    def delivered(self) -> Tokens: ...


class StreamMeter:
    """One attempt's stream. Nothing comes out before the first content, so that the attempt can still be
    thrown away; from then on every event does as soon as it is whole."""

    def __init__(
        self,
        *,
        choices: int,
        keep_usage: bool,
        keep_running_usage: bool,
        max_event_bytes: int,
        prompts: int = 1,
    ) -> None:
        """`choices`: of each of the `prompts`."""
        self._choices = choices
        self._prompts = prompts
        self._keep_usage = keep_usage
        self._keep_running_usage = keep_running_usage
        self._max_event_bytes = max_event_bytes
        self._partial = bytearray()
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._completion: dict[int, int] = {}
        self._prompt: dict[int, int] = {}
        self._total: Tokens | None = None
        self._delivered = 0
        # The first content has been seen.
        self.content = False
        # The end marker has been seen; it does not come out.
        self.done = False
        # What the engine sent in place of an answer, the value of its "error".
        self.error: dict[str, Any] | None = None

    def feed(self, data: bytes) -> bytes:
        """What may go to the client now. Raises StreamTooLarge."""
        whole = self._whole_events(data)
        if not whole:
            return b""
        out: list[bytes] = []
        for event in whole.split(b"\n\n"):
            if not event:
                continue
            if self.done or self.error is not None:
                break
            kept = self._read(event)
            if kept:
                out.append(kept)
        return b"".join(out)

    @property
    def claimed(self) -> Tokens | None:
        """What the engine says that it generated; None: it has said nothing."""
        return self.generated if self._total is not None or self._prompt else None

    @property
    def claimed_delivered(self) -> Tokens | None:
        """As `delivered`; None: the engine has said nothing of what it used."""
        return self.delivered if self.claimed is not None else None

    @property
    def estimated_delivered(self) -> None:
        """Engines are not estimated: what they do not tell, the gateway counts."""
        return

    @property
    def generated(self) -> Tokens:
        """What the engine has told so far."""
        if self._total is not None:
            return self._total
        return Tokens(sum(self._prompt.values()), sum(self._completion.values()))

    @property
    def delivered(self) -> Tokens:
        """The prompt, and the answer up to the last mark_delivered()."""
        return Tokens(self.generated.prompt, self._delivered)

    def mark_delivered(self) -> None:
        """Everything that came out so far was accepted by the client's transport."""
        self._delivered = sum(self._completion.values())

    def _whole_events(self, data: bytes) -> bytes:
        if not self._partial and data.endswith(b"\n\n"):
            return data
        searched = max(len(self._partial) - 1, 0)
        self._partial += data
        end = self._partial.rfind(b"\n\n", searched)
        if end < 0:
            if len(self._partial) > self._max_event_bytes:
                raise StreamTooLarge(f"an event of more than {self._max_event_bytes} bytes")
            return b""
        whole = bytes(self._partial[: end + 2])
        del self._partial[: end + 2]
        return whole

    def _read(self, event: bytes) -> bytes:
        """The event as it goes out, with its end, or nothing."""
        if event.startswith(b"data:") and event[5:].strip() == b"[DONE]":
            self.done = True
            return b""
        # What has a second line is no mere comment, whatever the first one is.
        if event.startswith(b":") and b"\n" not in event:
            return event + b"\n\n" if self.content else b""
        if b'"error":' in event:
            self.error = _error_of(event)
            if self.error is not None:
                return b""
        usage = _USAGE.search(event)
        kept = event if usage is None else self._meter(event, usage)
        if self.content:
            return kept + b"\n\n" if kept else b""
        return self._hold(event, kept)

    def _meter(self, event: bytes, usage: re.Match[bytes]) -> bytes:
        claim, without = _claim(usage[1]), event[: usage.start()] + event[usage.end() :]
        if b'"choices":[]' in event:
            # The sum over all choices, the last chunk of a stream.
            if claim is not None:
                self._total = claim
            return event if self._keep_usage and claim is not None else b""
        choice = _CHOICE.search(event)
        index = int(choice[1]) if choice else 0
        if claim is None or index >= self._choices * self._prompts:
            return without
        self._completion[index] = claim.completion
        # Several prompts in one request number their choices on: each prompt counts once.
        self._prompt[index // self._choices] = claim.prompt
        return event if self._keep_running_usage else without

    def _hold(self, event: bytes, kept: bytes) -> bytes:
        if kept:
            self._held.append(kept)
            self._held_bytes += len(kept)
        if any(self._completion.values()) or _has_content(event):
            self.content = True
            out = b"\n\n".join([*self._held, b""])
            self._held.clear()
            return out
        if self._held_bytes > self._max_event_bytes:
            raise StreamTooLarge(f"more than {self._max_event_bytes} bytes before the first content")
        return b""


def usage_of_answer(body: bytes) -> Tokens | None:
    """The usage in a whole answer; None where it has none."""
    usage = _USAGE.search(body, max(body.rfind(b',"usage":{'), 0))
    if usage is None:
        return None
    return _claim(usage[1])


def is_count(value: object) -> TypeGuard[int]:
    """Whether it can be a number of tokens: money is made of it."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS


def _claim(usage: bytes) -> Tokens | None:
    """What an engine says that it used; None where that is no count of anything. Null is 0."""
    counts = _payload(usage)
    prompt, completion = counts.get("prompt_tokens") or 0, counts.get("completion_tokens") or 0
    if not is_count(prompt) or not is_count(completion):
        return None
    details = counts.get("prompt_tokens_details")
    # Of the prompt's tokens, those that the engine had in its prefix cache; it says so where asked to.
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return Tokens(prompt, completion, min(cached, prompt) if is_count(cached) else 0)


def _payload(event: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(event.removeprefix(b"data:"))
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _error_of(event: bytes) -> dict[str, Any] | None:
    error = _payload(event).get("error")
    if not error:
        return None
    return error if isinstance(error, dict) else {"message": str(error)}


def _has_content(event: bytes) -> bool:
    choices = _payload(event).get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if not isinstance(choice, dict):
            continue
        delta = choice.get("delta")
        if choice.get("text") or choice.get("finish_reason") or choice.get("logprobs"):
            return True
        if isinstance(delta, dict) and any(value for key, value in delta.items() if key != "role"):
            return True
    return False
