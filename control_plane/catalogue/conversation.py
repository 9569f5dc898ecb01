"""A request's messages and tools in the form in which vLLM gives them to a chat template. Pure.

Follows vLLM 0.32; tests/integration/control_plane/catalogue compares the counts with a real one.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from control_plane.catalogue.chat_template import ChatTemplate

# Parts whose text is the prompt's, by the key that has it.
TEXT_PARTS = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "refusal": "refusal",
    "thinking": "thinking",
}


def template_messages(messages: Sequence[Mapping[str, Any]], template: ChatTemplate) -> list[dict[str, Any]]:
    """Raises ValueError, TypeError or LookupError for what an engine would refuse."""
    found = [_message(message, takes_parts=template.takes_parts) for message in messages]
    if template.knows_developer or all(message["role"] != "developer" for message in found):
        return found
    return _one_system_message(found)


def template_tools(tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A template prints tools as JSON, so that fields which a client left out count as well."""
    return [{"type": "function", "function": _function(tool["function"])} for tool in tools]


def template_variables(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a request may set beside messages and tools."""
    effort = body.get("reasoning_effort")
    variables: dict[str, Any] = dict(body.get("chat_template_kwargs") or {})
    if effort is not None:
        variables.setdefault("enable_thinking", effort != "none")
    own = {"documents": body.get("documents"), "reasoning_effort": effort}
    variables.update({name: value for name, value in own.items() if value is not None})
    prompted = body.get("add_generation_prompt")
    variables["add_generation_prompt"] = True if prompted is None else prompted
    return variables


def _message(message: Mapping[str, Any], *, takes_parts: bool) -> dict[str, Any]:
    role = message["role"]
    texts = list(_texts(message.get("content")))
    # A tool's result is text for every template.
    wrapped = takes_parts and role != "tool"
    found: dict[str, Any] = {
        "role": role,
        "content": [{"type": "text", "text": text} for text in texts] if wrapped else "\n".join(texts),
    }
    if role == "assistant":
        if message.get("tool_calls"):
            found["tool_calls"] = [_tool_call(call) for call in message["tool_calls"]]
        reasoning = message.get("reasoning") or message.get("reasoning_content")
        if reasoning is not None:
            found["reasoning"] = found["reasoning_content"] = reasoning
    elif role == "tool" and "tool_call_id" in message:
        found["tool_call_id"] = message["tool_call_id"]
    elif role == "developer":
        found["tools"] = message.get("tools")
    if isinstance(message.get("name"), str):
        found["name"] = message["name"]
    return found


def _texts(content: Any) -> Iterator[str]:
    if content is None:
        return
    if isinstance(content, str):
        yield content
        return
    for part in content:
        text = part if isinstance(part, str) else part.get(TEXT_PARTS[part["type"]])
        if text is not None:
            yield text


def _tool_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """Templates expect the arguments as an object."""
    function = dict(call["function"])
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            arguments = None
    function["arguments"] = arguments if isinstance(arguments, dict) else {}
    return {**call, "function": function}


def _function(function: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: function.get(name) for name in ("name", "description", "parameters")}
    if function.get("strict") is not None:
        found["strict"] = function["strict"]
    return found


def _one_system_message(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Developers become system, and all of system one message in front."""
    texts: list[str] = []
    others: list[dict[str, Any]] = []
    for message in messages:
        if message["role"] not in ("system", "developer"):
            others.append(dict(message))
            continue
        content = message["content"]
        text = content if isinstance(content, str) else "\n".join(part["text"] for part in content)
        texts += [text] if text else []
    return [{"role": "system", "content": "\n\n".join(texts)}, *others]
