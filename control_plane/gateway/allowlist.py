"""What of a request may go to a shared card. Pure.

An owner's engine takes what its owner sends. On a card that others share, a field that is not known to be
harmless is refused by its name: some let a request read or write outside itself, others cost far more work
than their tokens say.
"""

from collections.abc import Iterator
from typing import Any

import orjson

from control_plane.gateway.errors import Condition, Refusal
from control_plane.gateway.request import (
    CHAT_COMPLETIONS,
    COMPLETIONS,
    EMBEDDINGS,
    InferenceRequest,
)

MOST_CHOICES = 8
MOST_PROMPTS = 128
MOST_LOGPROBS = 20
# A grammar is compiled before the first token, by the processor that all calls of the card share.
MOST_STOP_BYTES = 2_048
MOST_SCHEMA_BYTES = 64 * 1024

_SAMPLING = frozenset(
    {
        "model",
        "max_tokens",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "n",
        "stop",
        "stop_token_ids",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "repetition_penalty",
        "length_penalty",
        "logit_bias",
        "logprobs",
        "stream",
        "stream_options",
        "response_format",
        "structured_outputs",
        "ignore_eos",
        "min_tokens",
        "skip_special_tokens",
        "spaces_between_special_tokens",
        "add_special_tokens",
        "include_stop_str_in_output",
        "return_tokens_as_token_ids",
    }
)
_CHAT = _SAMPLING | {
    "messages",
    "max_completion_tokens",
    "top_logprobs",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "reasoning_effort",
    "include_reasoning",
    "add_generation_prompt",
    "continue_final_message",
}
_COMPLETIONS = _SAMPLING | {"prompt", "suffix", "echo"}
_EMBEDDINGS = frozenset({"model", "input", "encoding_format", "dimensions", "add_special_tokens"})
_ALLOWED = {CHAT_COMPLETIONS: _CHAT, COMPLETIONS: _COMPLETIONS, EMBEDDINGS: _EMBEDDINGS}
# Known, and of no use to a card: who asks, and what OpenAI's own service does with it.
_DROPPED = frozenset(
    {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "verbosity"}
)
# The gateway's own; it sets them itself.
_OURS = frozenset({"priority", "cache_salt", "request_id"})


def check_shared(request: InferenceRequest) -> None:
    """Raises Refusal with the field at fault."""
    allowed = _ALLOWED[request.path]
    for field, value in request.body.items():
        if field not in allowed and field not in _DROPPED and field not in _OURS and value is not None:
            raise _refused(field, "is not served on shared cards; leave it out")
    if request.choices > MOST_CHOICES:
        raise _refused("n", f"is {MOST_CHOICES} at most on shared cards")
    if request.prompts > MOST_PROMPTS:
        raise _refused(
            "input" if request.path == EMBEDDINGS else "prompt",
            f"has {MOST_PROMPTS} texts at most on shared cards",
        )
    for field in ("logprobs", "top_logprobs"):
        value = request.body.get(field)
        if value is None or isinstance(value, bool):
            continue
        # An engine reads "50" and 50.0 as numbers too, and -1 as the whole vocabulary.
        if not isinstance(value, int) or not 0 <= value <= MOST_LOGPROBS:
            raise _refused(field, f"is a whole number of 0 to {MOST_LOGPROBS} on shared cards")
    if request.body.get("echo") and request.body.get("logprobs") is not None:
        raise _refused("echo", "does not go with logprobs on shared cards")
    for field in ("stop", "stop_token_ids"):
        value = request.body.get(field)
        # Looked for after every token, by the processor that all calls of the card share.
        if value is not None and len(orjson.dumps(value)) > MOST_STOP_BYTES:
            raise _refused(field, f"has {MOST_STOP_BYTES} bytes at most on shared cards")
    for field in ("response_format", "structured_outputs", "tools"):
        value = request.body.get(field)
        if value is not None and len(orjson.dumps(value)) > MOST_SCHEMA_BYTES:
            raise _refused(field, f"has {MOST_SCHEMA_BYTES} bytes at most on shared cards")
    for url in _urls(request.body.get("messages")):
        if not url[:5].lower() == "data:":
            raise _refused("messages", "may name media as data: only, since a shared card fetches nothing")


def without_dropped(body: dict[str, Any]) -> dict[str, Any]:
    """A request's body without what no shared card needs to see."""
    return {key: value for key, value in body.items() if key not in _DROPPED}


def _urls(messages: Any) -> Iterator[str]:
    """Every URL in the parts of messages, however deep."""
    inside = [message.get("content") for message in messages or ()]
    while inside:
        value = inside.pop()
        if isinstance(value, list):
            inside += value
        elif isinstance(value, dict):
            inside += value.values()
            for key, text in value.items():
                if isinstance(text, str) and (key == "url" or key.endswith("_url")):
                    yield text


def _refused(field: str, words: str) -> Refusal:
    return Refusal(Condition.FIELD_NOT_SHARED, f"'{field}' {words}", param=field)
