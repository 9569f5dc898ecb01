"""A request for a response (OpenAI's /v1/responses) as the chat request that stands for it. Pure.

Nothing is stored, so what leans on stored answers is refused, as is every tool that is not a function.
"""

from itertools import takewhile
from typing import Any

from control_plane.gateway.request import whole_number, wrong_value
from control_plane.gateway.surfaces.answer import Translated
from control_plane.gateway.surfaces.fields import (
    ENGINE_FIELDS,
    add_call,
    add_stream,
    check_known,
    function_tool,
    objects,
    simplest,
    text,
    unsupported,
    word,
)
from control_plane.gateway.surfaces.responses_answer import ResponsesAnswer

_STORED = frozenset({"previous_response_id", "conversation", "prompt"})
_AS_CHAT = frozenset({"model", "temperature", "top_p", "parallel_tool_calls", "stop"}) | ENGINE_FIELDS
_READ = frozenset(
    {
        "input", "instructions", "tools", "tool_choice", "max_output_tokens", "text", "reasoning", "stream",
        "background", "include", "truncation", "top_logprobs",
    }
)  # fmt: skip
# What says who asks, what OpenAI's own service does with the call, and what only its own tools heed.
_LEFT_OUT = frozenset(
    {
        "metadata", "store", "stream_options", "user", "safety_identifier", "service_tier",
        "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "max_tool_calls",
    }
)  # fmt: skip
_KNOWN = _AS_CHAT | _READ | _LEFT_OUT
_ROLES = frozenset({"user", "assistant", "system", "developer"})
_TEXT_PARTS = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}
# Asks for what a reasoning model would need again, but the reasoning of earlier turns is not sent on.
_INCLUDED_FOR_NOTHING = frozenset({"reasoning.encrypted_content"})


def translate(body: dict[str, Any]) -> Translated:
    """Raises Refusal with the field at fault."""
    for field in _STORED:
        if body.get(field) is not None:
            raise unsupported(field, "needs stored answers, and none are stored here: send all of the input")
    if body.get("background"):
        raise unsupported("background", "needs stored answers, and none are stored here: wait for the answer")
    check_known(body, _KNOWN, "/v1/responses")
    _check_extras(body)
    chat = {key: value for key, value in body.items() if key in _AS_CHAT and value is not None}
    chat["messages"] = _messages(body)
    if (max_tokens := whole_number(body, "max_output_tokens", least=1)) is not None:
        chat["max_tokens"] = max_tokens
    _add_tools(chat, body)
    _add_text(chat, body.get("text"))
    _add_reasoning(chat, body.get("reasoning"))
    add_stream(chat, body)
    return Translated(chat, ResponsesAnswer(body))


def _check_extras(body: dict[str, Any]) -> None:
    included = body.get("include") or []
    if not isinstance(included, list):
        raise wrong_value("include", "a list")
    for value in map(word, included):
        if value not in _INCLUDED_FOR_NOTHING:
            raise unsupported("include", f"cannot have {value!r}")
    if body.get("truncation") not in (None, "disabled"):
        raise unsupported("truncation", "can only be 'disabled': shorten the input yourself")
    if body.get("top_logprobs"):
        raise unsupported("top_logprobs", "is served on /v1/chat/completions only")


def _messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    if body.get("instructions") is not None:
        messages.append({"role": "system", "content": text(body, "instructions")})
    given = body.get("input")
    if isinstance(given, str):
        return [*messages, {"role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        raise wrong_value("input", "text or a list of at least one item")
    for where, item in objects(given, "input"):
        _add_item(messages, where, item)
    return _one_system_message(messages)


def _one_system_message(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Many templates take one system message, and that as the first."""
    first = list(takewhile(lambda message: message["role"] == "system", messages))
    if len(first) < 2:
        return messages
    parts: list[dict[str, Any]] = []
    for message in first:
        content = message["content"]
        parts += [{"type": "text", "text": content}] if isinstance(content, str) else content
    return [{"role": "system", "content": parts}, *messages[len(first) :]]


def _add_item(messages: list[dict[str, Any]], where: str, item: dict[str, Any]) -> None:
    kind = word(item.get("type", "message"))
    if kind == "message":
        role = word(item.get("role"))
        if role not in _ROLES:
            raise wrong_value(f"{where}.role", "user, assistant, system or developer")
        messages.append({"role": role, "content": _content(f"{where}.content", item.get("content"))})
    elif kind == "function_call":
        call_id, name, arguments = (text(item, key, f"{where}.") for key in ("call_id", "name", "arguments"))
        add_call(messages, call_id, name, arguments)
    elif kind == "function_call_output":
        content = _content(f"{where}.output", item.get("output"))
        call_id = text(item, "call_id", f"{where}.")
        messages.append({"role": "tool", "tool_call_id": call_id, "content": content})
    elif kind == "item_reference":
        raise unsupported(where, "refers to a stored item, and none are stored here: send the item")
    elif kind != "reasoning":
        raise unsupported(where, f"is of type {kind!r}, which is not served here")


def _content(where: str, content: object) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    return simplest([_part(place, part) for place, part in objects(content, where)])


def _part(where: str, part: dict[str, Any]) -> dict[str, Any]:
    kind = word(part.get("type"))
    if kind in _TEXT_PARTS:
        return {"type": "text", "text": text(part, _TEXT_PARTS[kind], f"{where}.")}
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        image = {"url": part["image_url"]}
        if part.get("detail") is not None:
            image["detail"] = part["detail"]
        return {"type": "image_url", "image_url": image}
    words = "may be text, or an input_image with an image_url: no files are stored here"
    raise unsupported(where, f"is of type {kind!r}, but {words}")


def _add_tools(chat: dict[str, Any], body: dict[str, Any]) -> None:
    tools = []
    for where, tool in objects(body.get("tools") or [], "tools"):
        if tool.get("type") != "function":
            raise unsupported(where, f"is of type {word(tool.get('type'))!r}: only functions are served")
        text(tool, "name", f"{where}.")
        tools.append(function_tool(tool, tool.get("parameters")))
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        if choice.get("type") != "function":
            raise unsupported("tool_choice", "can only be none, auto, required or a function")
        choice = {"type": "function", "function": {"name": text(choice, "name", "tool_choice.")}}
    if tools:
        chat["tools"] = tools
    elif choice in ("auto", "none"):
        # Clients send them with no tools too, where engines take neither.
        choice = None
    if not tools:
        chat.pop("parallel_tool_calls", None)
    if choice is not None:
        chat["tool_choice"] = choice


def _add_text(chat: dict[str, Any], config: object) -> None:
    if config is None:
        return
    if not isinstance(config, dict):
        raise wrong_value("text", "an object")
    for key in config:
        if key not in ("format", "verbosity"):
            raise unsupported(f"text.{key[:100]}", "is not served on /v1/responses; leave it out")
    if config.get("verbosity") is not None:
        chat["verbosity"] = config["verbosity"]
    form = config.get("format")
    if form is None:
        return
    kind = form.get("type") if isinstance(form, dict) else None
    if kind == "json_object":
        chat["response_format"] = {"type": kind}
    elif kind == "json_schema":
        schema = {key: value for key, value in form.items() if key != "type" and value is not None}
        chat["response_format"] = {"type": kind, "json_schema": schema}
    elif kind != "text":
        raise wrong_value("text.format", "of type text, json_object or json_schema")


def _add_reasoning(chat: dict[str, Any], reasoning: object) -> None:
    """Its summary is not made: the answer has the reasoning itself, where the engine shows it."""
    if reasoning is None:
        return
    if not isinstance(reasoning, dict):
        raise wrong_value("reasoning", "an object")
    for key, value in reasoning.items():
        if key == "effort":
            if value is not None:
                chat["reasoning_effort"] = value
        elif key not in ("summary", "generate_summary") and value is not None:
            raise unsupported(f"reasoning.{key[:100]}", "is not served on /v1/responses; leave it out")
