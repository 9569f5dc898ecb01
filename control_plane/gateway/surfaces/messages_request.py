"""A request for a message (Anthropic's /v1/messages) as the chat request that stands for it. Pure."""

from typing import Any

import orjson

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
from control_plane.gateway.surfaces.messages_answer import MessagesAnswer

_AS_CHAT = frozenset({"model", "max_tokens", "temperature", "top_p"}) | ENGINE_FIELDS
_READ = frozenset(
    {
        "messages", "system", "tools", "tool_choice", "stop_sequences", "stream", "thinking", "output_config",
    }
)  # fmt: skip
# Who asks, and how Anthropic's own service does its work.
_LEFT_OUT = frozenset({"metadata", "service_tier", "cache_control", "inference_geo"})
_KNOWN = _AS_CHAT | _READ | _LEFT_OUT
_TOOL_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_THINKING = {"disabled": False, "enabled": True, "adaptive": True}


def translate(body: dict[str, Any]) -> Translated:
    """Raises Refusal with the field at fault."""
    check_known(body, _KNOWN, "/v1/messages")
    if whole_number(body, "max_tokens", least=1) is None:
        raise wrong_value("max_tokens", "given")
    chat = {key: value for key, value in body.items() if key in _AS_CHAT and value is not None}
    chat["messages"] = _messages(body)
    if chat["messages"][-1]["role"] == "assistant":
        # The answer goes on where the client's own beginning of it ends.
        chat |= {"add_generation_prompt": False, "continue_final_message": True}
    stops = _stop_sequences(body.get("stop_sequences"))
    if stops:
        chat["stop"] = stops
    _add_tools(chat, body)
    _add_output(chat, body.get("output_config"))
    add_stream(chat, body)
    return Translated(chat, MessagesAnswer(stops, thinking=_thinking(body.get("thinking"))))


def _stop_sequences(value: object) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise wrong_value("stop_sequences", "a list of texts")
    return value


def _thinking(config: object) -> bool:
    """Whether the answer shows reasoning. How much there is of it, only max_tokens bounds."""
    if config is None:
        return False
    kind = word(config.get("type") if isinstance(config, dict) else None)
    if kind not in _THINKING:
        raise wrong_value("thinking.type", "enabled, adaptive or disabled")
    return _THINKING[kind]


def _messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    if body.get("system"):
        messages.append({"role": "system", "content": _texts("system", body["system"])})
    given = objects(body.get("messages"), "messages")
    if not given:
        raise wrong_value("messages", "a list of at least one message")
    for where, message in given:
        role, content = message.get("role"), message.get("content")
        if role == "user":
            _add_user(messages, f"{where}.content", content)
        elif role == "assistant":
            _add_assistant(messages, f"{where}.content", content)
        elif role == "system":
            messages.append({"role": "system", "content": _texts(f"{where}.content", content)})
        else:
            raise wrong_value(f"{where}.role", "user, assistant or system")
    return messages


def _texts(where: str, content: object) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    parts = []
    for place, block in objects(content, where):
        if block.get("type") != "text":
            raise wrong_value(f"{place}.type", "text")
        parts.append({"type": "text", "text": text(block, "text", f"{place}.")})
    return simplest(parts)


def _add_user(messages: list[dict[str, Any]], where: str, content: object) -> None:
    """Results of tools are messages of their own in chat: what stands between them keeps its place."""
    if isinstance(content, str):
        messages.append({"role": "user", "content": content})
        return
    blocks = objects(content, where)
    if not blocks:
        raise wrong_value(where, "text or a list of at least one block")
    parts: list[dict[str, Any]] = []
    for place, block in blocks:
        if block.get("type") != "tool_result":
            parts.append(_part(place, block))
            continue
        if parts:
            messages.append({"role": "user", "content": simplest(parts)})
            parts = []
        call_id = text(block, "tool_use_id", f"{place}.")
        messages.append({"role": "tool", "tool_call_id": call_id, "content": _result(place, block)})
    if parts:
        messages.append({"role": "user", "content": simplest(parts)})


def _result(where: str, block: dict[str, Any]) -> str | list[dict[str, Any]]:
    content = block.get("content")
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return simplest([_part(place, each) for place, each in objects(content, f"{where}.content")])


def _part(where: str, block: dict[str, Any]) -> dict[str, Any]:
    kind = word(block.get("type"))
    if kind == "text":
        return {"type": "text", "text": text(block, "text", f"{where}.")}
    if kind != "image":
        raise unsupported(where, f"is of type {kind!r}, which is not served here")
    source = block.get("source")
    form = source.get("type") if isinstance(source, dict) else None
    if not isinstance(source, dict) or form not in ("base64", "url"):
        raise unsupported(f"{where}.source", "can only be of type base64 or url: no files are stored here")
    if form == "url":
        url = text(source, "url", f"{where}.source.")
    else:
        media, data = (text(source, key, f"{where}.source.") for key in ("media_type", "data"))
        url = f"data:{media};base64,{data}"
    return {"type": "image_url", "image_url": {"url": url}}


def _add_assistant(messages: list[dict[str, Any]], where: str, content: object) -> None:
    if isinstance(content, str):
        messages.append({"role": "assistant", "content": content})
        return
    parts: list[dict[str, Any]] = []
    message: dict[str, Any] = {"role": "assistant", "content": None}
    messages.append(message)
    for place, block in objects(content, where):
        kind = word(block.get("type"))
        if kind == "text":
            parts.append({"type": "text", "text": text(block, "text", f"{place}.")})
        elif kind == "tool_use":
            call_id, name = (text(block, key, f"{place}.") for key in ("id", "name"))
            add_call(messages, call_id, name, orjson.dumps(block.get("input") or {}).decode())
        elif kind not in ("thinking", "redacted_thinking"):
            raise unsupported(place, f"is of type {kind!r}, which is not served here")
    if parts or "tool_calls" not in message:
        message["content"] = simplest(parts)


def _add_tools(chat: dict[str, Any], body: dict[str, Any]) -> None:
    tools = []
    for where, tool in objects(body.get("tools") or [], "tools"):
        if tool.get("type") not in (None, "custom"):
            words = f"is of type {word(tool['type'])!r}: only tools that the client runs are served"
            raise unsupported(where, words)
        text(tool, "name", f"{where}.")
        tools.append(function_tool(tool, tool.get("input_schema")))
    choice = body.get("tool_choice")
    if choice is not None and not isinstance(choice, dict):
        raise wrong_value("tool_choice", "an object")
    if tools:
        chat["tools"] = tools
    if choice is None:
        return
    kind = word(choice.get("type"))
    if kind == "tool":
        name = text(choice, "name", "tool_choice.")
        chat["tool_choice"] = {"type": "function", "function": {"name": name}}
    elif kind not in _TOOL_CHOICES:
        raise wrong_value("tool_choice.type", "auto, any, tool or none")
    elif tools or kind == "any":
        chat["tool_choice"] = _TOOL_CHOICES[kind]
    if tools and choice.get("disable_parallel_tool_use"):
        chat["parallel_tool_calls"] = False


def _add_output(chat: dict[str, Any], config: object) -> None:
    if config is None:
        return
    if not isinstance(config, dict):
        raise wrong_value("output_config", "an object")
    for key, value in config.items():
        if value is None:
            continue
        if key == "effort":
            chat["reasoning_effort"] = value
        elif key == "format":
            if not isinstance(value, dict) or value.get("type") != "json_schema":
                raise wrong_value("output_config.format", "of type json_schema")
            schema = {"name": "answer", "schema": value.get("schema"), "strict": True}
            chat["response_format"] = {"type": "json_schema", "json_schema": schema}
        else:
            raise unsupported(f"output_config.{key[:100]}", "is not served on /v1/messages; leave it out")
