"""Reading the fields of a surface's request. Pure."""

from collections.abc import Container
from typing import Any

from control_plane.gateway.errors import Condition, Refusal
from control_plane.gateway.request import wrong_value

# Not of the surfaces' own APIs, but of use to clients that know the engines: they go on as they are, and an
# upstream that does not take them says so, as it does for chat.
ENGINE_FIELDS = frozenset(
    {
        "top_k", "min_p", "seed", "presence_penalty", "frequency_penalty", "repetition_penalty",
        "min_tokens", "ignore_eos", "structured_outputs", "chat_template_kwargs",
    }
)  # fmt: skip


def unsupported(param: str, words: str) -> Refusal:
    """`words` go on after the field's name."""
    return Refusal(Condition.UNSUPPORTED, f"'{param}' {words}", param=param)


def check_known(body: dict[str, Any], known: Container[str], path: str) -> None:
    """Raises Refusal for a field that nobody would heed: without it the answer would be another one."""
    for field, value in body.items():
        if field not in known and value is not None:
            raise unsupported(field[:100], f"is not served on {path}; leave it out")


def text(source: dict[str, Any], key: str, where: str = "") -> str:
    """Raises Refusal."""
    value = source.get(key)
    if not isinstance(value, str):
        raise wrong_value(f"{where}{key}", "text")
    return value


def word(value: object) -> str:
    """A text that names something, cut for a message; "" for what is no text."""
    return value[:100] if isinstance(value, str) else ""


def objects(value: object, where: str) -> list[tuple[str, dict[str, Any]]]:
    """The objects of a list, each with its place in the request. Raises Refusal."""
    if not isinstance(value, list):
        raise wrong_value(where, "a list")
    found = [(f"{where}[{number}]", each) for number, each in enumerate(value)]
    for place, each in found:
        if not isinstance(each, dict):
            raise wrong_value(place, "an object")
    return found


def simplest(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """A message's content: text where it is one text, which every template takes."""
    if not parts:
        return ""
    if len(parts) == 1 and parts[0]["type"] == "text":
        return str(parts[0]["text"])
    return parts


def function_tool(tool: dict[str, Any], schema: object) -> dict[str, Any]:
    """As chat has it. `schema`: of its arguments."""
    function = {key: tool[key] for key in ("name", "description", "strict") if tool.get(key) is not None}
    if schema is not None:
        function["parameters"] = schema
    return {"type": "function", "function": function}


def add_stream(chat: dict[str, Any], body: dict[str, Any]) -> None:
    """A surface's stream tells what was used, so the chat's has to."""
    if body.get("stream") is None:
        return
    chat["stream"] = body["stream"]
    if body["stream"]:
        chat["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}


def add_call(messages: list[dict[str, Any]], call_id: str, name: str, arguments: str) -> None:
    """A call that the assistant made, with what it said right before."""
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    messages[-1].setdefault("tool_calls", []).append(call)
