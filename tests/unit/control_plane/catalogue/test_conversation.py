"""Messages and tools reach a template in the form that vLLM gives them."""

from typing import Any

import pytest

from control_plane.catalogue.chat_template import ChatTemplate
from control_plane.catalogue.conversation import template_messages, template_tools, template_variables

TEXT = ChatTemplate("{% for m in messages %}{{ m.content }}{% endfor %}", {})
PARTS = ChatTemplate(
    "{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}", {}
)
DEVELOPERS = ChatTemplate("{% if messages[0].role == 'developer' %}{% endif %}", {})
TWO_PARTS = [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "b"}, "c"]


def test_parts_become_lines_of_text_or_stay_parts() -> None:
    message = {"role": "user", "content": TWO_PARTS}
    assert template_messages([message], TEXT) == [{"role": "user", "content": "a\nb\nc"}]
    parts = [{"type": "text", "text": text} for text in "abc"]
    assert template_messages([message], PARTS) == [{"role": "user", "content": parts}]
    assert template_messages([{"role": "user", "content": "x"}], PARTS)[0]["content"] == [
        {"type": "text", "text": "x"}
    ]


def test_absent_content_is_empty() -> None:
    assert template_messages([{"role": "assistant"}], TEXT) == [{"role": "assistant", "content": ""}]
    assert template_messages([{"role": "assistant", "content": None}], PARTS)[0]["content"] == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [('{"a": 1}', {"a": 1}), ("", {}), (None, {}), ("[1]", {}), ("{broken", {}), ({"a": 1}, {"a": 1})],
)
def test_a_tool_calls_arguments_become_an_object(arguments: Any, expected: dict[str, Any]) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    (message,) = template_messages([{"role": "assistant", "content": "", "tool_calls": [call]}], TEXT)
    assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": expected}
    assert call["function"]["arguments"] == arguments  # type: ignore[index]


def test_empty_tool_calls_are_none() -> None:
    (message,) = template_messages([{"role": "assistant", "content": "x", "tool_calls": []}], TEXT)
    assert "tool_calls" not in message


def test_a_tools_result_is_text_for_every_template() -> None:
    message = {"role": "tool", "tool_call_id": "1", "content": TWO_PARTS}
    expected = [{"role": "tool", "tool_call_id": "1", "content": "a\nb\nc"}]
    assert template_messages([message], PARTS) == expected


def test_reasoning_is_there_under_both_of_its_names() -> None:
    (message,) = template_messages([{"role": "assistant", "content": "x", "reasoning_content": "r"}], TEXT)
    assert (message["reasoning"], message["reasoning_content"]) == ("r", "r")


def test_a_template_that_knows_no_developers_gets_one_system_message() -> None:
    messages = [
        {"role": "developer", "content": "d"},
        {"role": "user", "content": "u"},
        {"role": "system", "content": "s"},
    ]
    assert template_messages(messages, TEXT) == [
        {"role": "system", "content": "d\n\ns"},
        {"role": "user", "content": "u"},
    ]
    assert [each["role"] for each in template_messages(messages, DEVELOPERS)] == [
        "developer", "user", "system",
    ]  # fmt: skip


def test_what_a_tool_leaves_out_is_null() -> None:
    (tool,) = template_tools([{"function": {"name": "f", "extra": 1}, "more": 2}])
    assert tool == {
        "type": "function",
        "function": {"name": "f", "description": None, "parameters": None},
    }


def test_what_a_request_sets_reaches_the_template() -> None:
    assert template_variables({}) == {"add_generation_prompt": True}
    assert template_variables({"reasoning_effort": "none"}) == {
        "add_generation_prompt": True, "enable_thinking": False, "reasoning_effort": "none",
    }  # fmt: skip
    asked = {"chat_template_kwargs": {"enable_thinking": True, "x": 1}, "reasoning_effort": "none"}
    assert template_variables(asked)["enable_thinking"] is True
    assert template_variables(asked)["x"] == 1
