"""A call as a vendor gets it. Pure.

Vendors refuse fields that they do not know, bill for some that look harmless, and keep what names a user. So
a field goes out only if it is in the table below; one that can be missing without changing the form of the
answer is left out; with any other field the call is not sent to a vendor at all.
"""

from typing import Any

import orjson

from control_plane.gateway.request import CHAT_COMPLETIONS, COMPLETIONS, InferenceRequest
from control_plane.vendors import Vendor, VendorModel

_USER_AGENT = "daalu"

_BOTH = frozenset({"temperature", "top_p", "n", "stop", "seed", "presence_penalty", "frequency_penalty"})
_CHAT = _BOTH | {
    "logprobs", "top_logprobs", "reasoning_effort", "parallel_tool_calls",
    "tools", "tool_choice", "functions", "function_call", "response_format", "messages",
}  # fmt: skip
_ALLOWED = {CHAT_COMPLETIONS: _CHAT, COMPLETIONS: _BOTH | {"logprobs", "suffix", "prompt"}}

# Set here, whatever the client had.
_SET = frozenset({"model", "stream", "stream_options", "max_tokens", "max_completion_tokens"})
_LEFT_OUT = frozenset(
    {
        # The gateway's own, and an engine's plumbing.
        "priority", "cache_salt", "request_id", "kv_transfer_params", "vllm_xargs", "mm_processor_kwargs",
        # Who asks, and what a vendor would keep of it.
        "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "store", "metadata",
        # Buys another service at another price.
        "service_tier",
        # How vLLM refines sampling: a vendor samples in its own way.
        "top_k", "min_p", "repetition_penalty", "length_penalty", "min_tokens", "ignore_eos",
        "skip_special_tokens", "spaces_between_special_tokens", "truncate_prompt_tokens",
        "add_generation_prompt", "include_reasoning",
    }
)  # fmt: skip
_MESSAGE = frozenset({"role", "content", "name", "tool_calls", "tool_call_id", "function_call", "refusal"})
_RESPONSE_FORMATS = ("text", "json_object", "json_schema")


class NotForVendors(Exception):
    """The call cannot go to a vendor as it is. `param` names the field, the message says why."""

    def __init__(self, param: str, why: str) -> None:
        super().__init__(f"{param!r} {why}")
        self.param = param


def fields_for_vendors(request: InferenceRequest) -> dict[str, Any]:
    """What of the client's body may go to a vendor, without the fields that are set for each one.

    Raises NotForVendors.
    """
    if request.path not in _ALLOWED:
        raise NotForVendors("input", "is not sent to vendors: they are asked for no embeddings")
    allowed = _ALLOWED[request.path]
    kept: dict[str, Any] = {}
    for key, value in request.body.items():
        # Null is the same as absent.
        if value is None or key in _SET or key in _LEFT_OUT:
            continue
        if key in allowed:
            kept[key] = value
        # What is off or empty changes nothing. `logit_bias` is not here: its token ids are one model's.
        elif value not in (False, "", [], {}):
            raise NotForVendors(key[:100], "is not sent to vendors, and the answer depends on it")
    if request.path == CHAT_COMPLETIONS:
        kept["messages"] = [_message(number, each) for number, each in enumerate(kept["messages"])]
        _check_tools(kept)
    else:
        _check_prompt(kept.get("prompt"))
    return kept


def for_vendor(request: InferenceRequest, model: VendorModel, max_tokens: int) -> bytes:
    """The body for one vendor. `max_tokens` is what was held for each choice. Raises NotForVendors."""
    body = fields_for_vendors(request)
    body["model"] = model.vendors_name
    newer = request.body.get("max_completion_tokens") is not None
    body[model.limit_field or ("max_completion_tokens" if newer else "max_tokens")] = max_tokens
    if request.streamed:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    return orjson.dumps(body)


def http_post(vendor: Vendor, path: str, body: bytes, *, streamed: bool) -> bytes:
    """The whole request, for Connection.begin(). `path` is ours, such as /v1/chat/completions."""
    head = (
        f"POST {vendor.url.prefix}{path.removeprefix('/v1')} HTTP/1.1\r\n"
        f"host: {vendor.url.authority}\r\n"
        f"authorization: Bearer {vendor.key}\r\n"
        f"user-agent: {_USER_AGENT}\r\n"
        f"accept: {'text/event-stream' if streamed else 'application/json'}\r\n"
        "accept-encoding: identity\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode("ascii") + body


def _message(number: int, message: dict[str, Any]) -> dict[str, Any]:
    # What a client sends back of an answer has fields that only the answer's own engine knows.
    kept = {key: value for key, value in message.items() if key in _MESSAGE and value is not None}
    if isinstance(kept.get("content"), list):
        where = f"messages[{number}].content"
        kept["content"] = [_part(where, part) for part in kept["content"]]
    elif "content" in message:
        kept["content"] = message["content"]
    return kept


def _part(where: str, part: object) -> dict[str, Any]:
    """A part of a message's content: text, or media that travel with it. Nothing is fetched for a call."""
    kind = part.get("type") if isinstance(part, dict) else None
    value = part.get(kind) if isinstance(part, dict) and isinstance(kind, str) else None
    if kind in ("text", "refusal") and isinstance(value, str):
        return {"type": kind, kind: value}
    if kind == "image_url" and isinstance(value, dict) and _is_data(value.get("url")):
        kept = {key: value[key] for key in ("url", "detail") if value.get(key) is not None}
        return {"type": kind, kind: kept}
    if kind == "input_audio" and isinstance(value, dict):
        return {"type": kind, kind: {key: value[key] for key in ("data", "format") if key in value}}
    raise NotForVendors(where, "may have text, image_url parts with a data: URL, and input_audio parts only")


def _is_data(url: object) -> bool:
    return isinstance(url, str) and url[:5].lower() == "data:"


def _check_tools(body: dict[str, Any]) -> None:
    tools = body.get("tools", [])
    if not isinstance(tools, list):
        raise NotForVendors("tools", "must be a list")
    for number, tool in enumerate(tools):
        # Any other is run by the vendor: it costs extra, and reaches out into the world.
        if not isinstance(tool, dict) or tool.get("type") != "function":
            raise NotForVendors(f"tools[{number}]", "must be of type 'function'")
    form = body.get("response_format")
    if form is not None and (not isinstance(form, dict) or form.get("type") not in _RESPONSE_FORMATS):
        raise NotForVendors("response_format", f"must be one of {', '.join(_RESPONSE_FORMATS)}")


def _check_prompt(prompt: object) -> None:
    texts = prompt if isinstance(prompt, list) else [prompt]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise NotForVendors("prompt", "must be text: token ids mean something else to every model")
