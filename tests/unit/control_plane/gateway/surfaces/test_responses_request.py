from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.gateway.errors import Refusal
from control_plane.gateway.surfaces.responses_request import translate

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def chat(**fields: Any) -> dict[str, Any]:
    return translate({"model": "m", "input": "hi", **fields}).chat_body


@given(TEXTS, TEXTS)
def test_texts_are_carried_exactly(instructions: str, text: str) -> None:
    part = {"type": "input_text", "text": text}
    for given_input in (text, [{"role": "user", "content": text}], [{"role": "user", "content": [part]}]):
        assert chat(instructions=instructions, input=given_input)["messages"] == [
            {"role": "system", "content": instructions},
            {"role": "user", "content": text},
        ]


def test_a_conversation_with_calls_becomes_chats_messages() -> None:
    items = [
        {"role": "user", "content": "weather?"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Looking.", "annotations": []}],
        },
        {"type": "function_call", "id": "fc_1", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call", "id": "fc_2", "call_id": "b", "name": "g", "arguments": '{"x":1}'},
        {"type": "function_call_output", "call_id": "a", "output": "rain"},
        {"type": "function_call_output", "call_id": "b", "output": [{"type": "input_text", "text": "sun"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    ]
    user, said, first, second, again = chat(input=items)["messages"]
    assert user == {"role": "user", "content": "weather?"}
    assert said["content"] == "Looking."
    assert [(each["id"], each["function"]) for each in said["tool_calls"]] == [
        ("a", {"name": "f", "arguments": "{}"}),
        ("b", {"name": "g", "arguments": '{"x":1}'}),
    ]
    assert first == {"role": "tool", "tool_call_id": "a", "content": "rain"}
    assert second == {"role": "tool", "tool_call_id": "b", "content": "sun"}
    assert (again["role"], again["content"], len(again["tool_calls"])) == ("assistant", None, 1)


def test_system_messages_at_the_start_become_one() -> None:
    items = [
        {"role": "system", "content": "two"},
        {"role": "user", "content": "hi"},
        {"role": "system", "content": "later"},
    ]
    first, _, later = chat(instructions="one", input=items)["messages"]
    assert first == {
        "role": "system",
        "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}],
    }
    assert later == {"role": "system", "content": "later"}


def test_pictures_go_on_as_parts() -> None:
    picture = {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low"}
    [message] = chat(input=[{"role": "user", "content": [picture]}])["messages"]
    url = {"url": "data:image/png;base64,AA", "detail": "low"}
    assert message["content"] == [{"type": "image_url", "image_url": url}]


def test_options_become_those_of_chat() -> None:
    got = chat(
        max_output_tokens=9,
        temperature=0.5,
        top_p=0.9,
        parallel_tool_calls=False,
        tools=[{"type": "function", "name": "f", "description": None, "parameters": {"type": "object"}}],
        tool_choice={"type": "function", "name": "f"},
        reasoning={"effort": "high", "summary": "auto"},
        text={"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": True}},
        stream=True,
        top_k=3,
    )
    assert got.pop("messages") == [{"role": "user", "content": "hi"}]
    assert got == {
        "model": "m",
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "parallel_tool_calls": False,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "reasoning_effort": "high",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": {}, "strict": True},
        },
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        "top_k": 3,
    }


def test_what_changes_nothing_is_left_out() -> None:
    got = chat(
        store=True,
        background=False,
        previous_response_id=None,
        metadata={"a": "b"},
        user="eve",
        include=["reasoning.encrypted_content"],
        truncation="disabled",
        top_logprobs=0,
        tools=[],
        tool_choice="auto",
        parallel_tool_calls=True,
        text={"format": {"type": "text"}},
        reasoning={},
        stream=False,
        temperature=None,
    )
    assert got == {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": False}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"background": True}, "background"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"unheard_of": 1}, "unheard_of"),
        ({"n": 2}, "n"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"include": 5}, "include"),
        ({"include": [{}]}, "include"),
        ({"truncation": "auto"}, "truncation"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"tools": [{"type": []}]}, "tools[0]"),
        ({"tools": [5]}, "tools[0]"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.name"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format"),
        ({"text": {"format": "json"}}, "text.format"),
        ({"text": {"other": 1}}, "text.other"),
        ({"text": "json"}, "text"),
        ({"reasoning": "high"}, "reasoning"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": "9"}, "max_output_tokens"),
        ({"instructions": 5}, "instructions"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": ["hi"]}, "input[0]"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": {}, "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": 5}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0]"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            "input[0].content[0]",
        ),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
        ({"input": [{"type": "web_search_call"}]}, "input[0]"),
        ({"input": [{"type": ["message"]}]}, "input[0]"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "call_id": "a"}]}, "input[0].output"),
    ],
)
def test_what_would_change_the_answer_is_refused_by_its_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Refusal) as refused:
        chat(**fields)
    assert (refused.value.status, refused.value.param) == (400, param)
    assert f"'{param}'" in refused.value.message
