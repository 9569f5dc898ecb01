"""An inference request: what the gateway reads of it, and the form in which an engine gets it."""

from dataclasses import dataclass
from typing import Any
from zlib import crc32

import orjson

from control_plane.gateway.errors import Condition, Refusal
from control_plane.gateway.exact_json import NotExact, parse

CHAT_COMPLETIONS = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
EMBEDDINGS = "/v1/embeddings"
INFERENCE_PATHS = frozenset({CHAT_COMPLETIONS, COMPLETIONS, EMBEDDINGS})

# The gateway's to set: where a client sends one, it is dropped.
_OURS = frozenset({"priority", "cache_salt", "request_id"})
_MOST_CHOICES = 10_000
# What a chat template adds: for each message, in front of everything, and to describe tools.
_TOKENS_PER_MESSAGE = 16
_TOKENS_OF_TEMPLATE = 256
_TOKENS_OF_TOOLS = 1_024
# Of a prompt: where the search for a pool's card begins.
_AFFINITY_CHARACTERS = 1_024


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """A request whose fields, as far as they are read here, have the right types. Never changed."""

    path: str
    body: dict[str, Any]
    model: str
    streamed: bool
    # Answers per prompt.
    choices: int
    max_tokens: int | None
    prompt_characters: int
    # The most tokens that all prompts together can have: no tokenizer makes more of them than bytes.
    prompt_tokens_bound: int
    # Prompts in one request: one where the path takes messages.
    prompts: int
    # No pictures, sound or files.
    text_only: bool
    # What the client itself asked for: the usage chunk at the end, and running usage in every chunk.
    wants_usage: bool
    wants_running_usage: bool


@dataclass(frozen=True, slots=True)
class EngineFields:
    """What the gateway sets in every request to an engine."""

    served_name: str
    request_id: str
    # Lower is served first.
    priority: int
    # Calls with different salts share no cached prefixes.
    cache_salt: str
    # What was held for each choice; None: as the client has it.
    max_tokens: int | None = None


def read_request(path: str, raw: bytes) -> InferenceRequest:
    """Raises Refusal with the field at fault."""
    try:
        body = parse(raw)
    except NotExact as error:
        raise Refusal(Condition.INVALID_JSON, str(error)) from None
    if not isinstance(body, dict):
        raise Refusal(Condition.INVALID_JSON, "the body must be a JSON object")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise _wrong("model", "a model's name")
    if path == EMBEDDINGS:
        return _embedding_request(body, model, len(raw))
    streamed = _boolean(body, "stream")
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise _wrong("stream_options", "an object")
    wants_usage = streamed and _boolean(options or {}, "include_usage", "stream_options.include_usage")
    running = _boolean(options or {}, "continuous_usage_stats", "stream_options.continuous_usage_stats")
    choices = _count(body, "n", least=1)
    if choices is not None and choices > _MOST_CHOICES:
        raise _wrong("n", f"at most {_MOST_CHOICES}")
    max_tokens = _count(body, "max_tokens")
    if path == CHAT_COMPLETIONS:
        newer = _count(body, "max_completion_tokens")
        max_tokens = max_tokens if newer is None else newer
        characters, text_only = _message_characters(body.get("messages"))
        prompts = 1
    else:
        characters, prompts = _prompt_characters(body.get("prompt"))
        text_only = body.get("prompt_embeds") is None
    return InferenceRequest(
        path=path,
        body=body,
        model=model,
        streamed=streamed,
        choices=choices or 1,
        max_tokens=max_tokens,
        prompt_characters=characters,
        prompt_tokens_bound=_prompt_bound(body, len(raw)),
        prompts=prompts,
        text_only=text_only,
        wants_usage=wants_usage,
        wants_running_usage=wants_usage and running,
    )


def _embedding_request(body: dict[str, Any], model: str, raw_bytes: int) -> InferenceRequest:
    # Generates nothing, so there is no output to limit or to hold for.
    characters, prompts = _prompt_characters(body.get("input"), "input")
    if body.get("input") is None:
        raise _wrong("input", "text or a list")
    return InferenceRequest(
        path=EMBEDDINGS,
        body=body,
        model=model,
        streamed=False,
        choices=1,
        max_tokens=0,
        prompt_characters=characters,
        prompt_tokens_bound=_prompt_bound(body, raw_bytes),
        prompts=prompts,
        text_only=True,
        wants_usage=False,
        wants_running_usage=False,
    )


def for_engine(
    request: InferenceRequest, fields: EngineFields, client_body: dict[str, Any] | None = None
) -> bytes:
    """The client's body, equal as JSON values but for the model's name and the gateway's own fields.

    `client_body`: what of it is sent, where that is less than all.
    """
    source = request.body if client_body is None else client_body
    body = {key: value for key, value in source.items() if key not in _OURS}
    if fields.max_tokens is not None and request.path != EMBEDDINGS:
        newer = body.get("max_completion_tokens") is not None
        body["max_completion_tokens" if newer else "max_tokens"] = fields.max_tokens
    body["model"] = fields.served_name
    body["request_id"] = fields.request_id
    body["priority"] = fields.priority
    body["cache_salt"] = fields.cache_salt
    if request.streamed:
        options = dict(body.get("stream_options") or {})
        options["include_usage"] = True
        options["continuous_usage_stats"] = True
        body["stream_options"] = options
    return orjson.dumps(body)


def _wrong(param: str, wanted: str) -> Refusal:
    return Refusal(Condition.INVALID_VALUE, f"'{param}' must be {wanted}", param=param)


def _boolean(source: dict[str, Any], key: str, param: str | None = None) -> bool:
    value = source.get(key)
    if value is not None and not isinstance(value, bool):
        raise _wrong(param or key, "true or false")
    return bool(value)


def _count(body: dict[str, Any], key: str, *, least: int = 0) -> int | None:
    value = body.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise _wrong(key, f"a whole number of at least {least}")
    return value


def _message_characters(messages: object) -> tuple[int, bool]:
    """Characters of text, and whether there is nothing but text."""
    if not isinstance(messages, list) or not messages:
        raise _wrong("messages", "a list of at least one message")
    characters, text_only = 0, True
    for position, message in enumerate(messages):
        if not isinstance(message, dict):
            raise _wrong(f"messages[{position}]", "an object")
        content = message.get("content")
        if isinstance(content, str):
            characters += len(content)
        elif isinstance(content, list):
            for part in content:
                text = part.get("text") if isinstance(part, dict) else part
                characters += len(text) if isinstance(text, str) else 0
                text_only = text_only and isinstance(text, str)
        elif content is not None:
            raise _wrong(f"messages[{position}].content", "text or a list of parts")
    return characters, text_only


def _prompt_characters(prompt: object, param: str = "prompt") -> tuple[int, int]:
    """Characters of the longest prompt, and how many prompts there are."""
    if isinstance(prompt, str):
        return len(prompt), 1
    if isinstance(prompt, list):
        if all(isinstance(entry, int) for entry in prompt):
            # One prompt of token ids.
            return 0, 1
        # Several prompts are served one by one, each within the context on its own.
        return max((len(entry) for entry in prompt if isinstance(entry, str)), default=0), len(prompt)
    if prompt is None:
        return 0, 1
    raise _wrong(param, "text or a list")


def _prompt_bound(body: dict[str, Any], raw_bytes: int) -> int:
    # The whole body stands for its texts: JSON never writes a text in fewer bytes than UTF-8.
    messages = body.get("messages")
    bound = raw_bytes + _TOKENS_OF_TEMPLATE
    if isinstance(messages, list):
        bound += len(messages) * _TOKENS_PER_MESSAGE
    if body.get("tools"):
        # Templates write them out anew, indented at most.
        bound += raw_bytes + _TOKENS_OF_TOOLS
    return bound


def affinity_of(request: InferenceRequest) -> int:
    """Where on a pool's ring the search for a card begins; the same for prompts that begin alike."""
    texts: list[str] = []
    length = 0
    messages = request.body.get("messages")
    contents = [each.get("content") for each in messages] if isinstance(messages, list) else []
    for text in contents or [request.body.get("prompt", request.body.get("input"))]:
        texts.append(text if isinstance(text, str) else repr(text)[:_AFFINITY_CHARACTERS])
        length += len(texts[-1])
        if length >= _AFFINITY_CHARACTERS:
            break
    return crc32("\0".join(texts)[:_AFFINITY_CHARACTERS].encode(errors="replace"))
