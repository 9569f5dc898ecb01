import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.gateway.errors import Refusal
from control_plane.gateway.surfaces.messages_request import translate

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
HI = [{"role": "user", "content": "hi"}]


def chat(**fields: Any) -> dict[str, Any]:
    return translate({"model": "m", "max_tokens": 9, "messages": HI, **fields}).chat_body


@given(TEXTS.filter(bool), TEXTS, TEXTS)
def test_texts_are_carried_exactly(system: str, text: str, answered: str) -> None:
    def block(content: str) -> list[dict[str, Any]]:
        return [{"type": "text", "text": content, "cache_control": {"type": "ephemeral"}}]

    for form in (str, block):
        turn = [
            {"role": "user", "content": form(text)},
            {"role": "assistant", "content": form(answered)},
            {"role": "user", "content": form(text)},
        ]
        assert chat(system=form(system), messages=turn)["messages"] == [
            {"role": "system", "content": system},
            {"role": "user", "content": text},
            {"role": "assistant", "content": answered},
            {"role": "user", "content": text},
        ]


def test_several_blocks_stay_apart() -> None:
    blocks = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    got = chat(system=blocks, messages=[{"role": "user", "content": blocks}])
    assert [message["content"] for message in got["messages"]] == [blocks, blocks]


@given(st.dictionaries(TEXTS, TEXTS | st.integers(-(2**63), 2**63) | st.booleans()))
def test_the_input_of_a_tool_becomes_its_arguments_exactly(tool_input: dict[str, Any]) -> None:
    block = {"type": "tool_use", "id": "a", "name": "f", "input": tool_input}
    turn = [*HI, {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}, block]}, *HI]
    _, said, _ = chat(messages=turn)["messages"]
    assert said["content"] is None
    [call] = said["tool_calls"]
    assert (call["id"], call["function"]["name"]) == ("a", "f")
    assert json.loads(call["function"]["arguments"]) == tool_input


def test_results_of_tools_keep_their_place_among_the_users_words() -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}
    content = [
        {"type": "tool_result", "tool_use_id": "a", "content": "rain"},
        {"type": "tool_result", "tool_use_id": "b", "is_error": True},
        {"type": "text", "text": "so?"},
        {"type": "tool_result", "tool_use_id": "c", "content": [picture]},
    ]
    url = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    assert chat(messages=[{"role": "user", "content": content}])["messages"] == [
        {"role": "tool", "tool_call_id": "a", "content": "rain"},
        {"role": "tool", "tool_call_id": "b", "content": ""},
        {"role": "user", "content": "so?"},
        {"role": "tool", "tool_call_id": "c", "content": [url]},
    ]


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        ({"type": "tool", "name": "f"}, {"tool_choice": {"type": "function", "function": {"name": "f"}}}),
        (
            {"type": "auto", "disable_parallel_tool_use": True},
            {"tool_choice": "auto", "parallel_tool_calls": False},
        ),
    ],
)
def test_the_choice_of_tools_is_chats(choice: dict[str, Any], wanted: dict[str, Any]) -> None:
    tool = {"name": "f", "description": "d", "input_schema": {"type": "object"}, "cache_control": {}}
    got = chat(tools=[tool], tool_choice=choice)
    function = {"name": "f", "description": "d", "parameters": {"type": "object"}}
    assert got.pop("tools") == [{"type": "function", "function": function}]
    assert got == {"model": "m", "max_tokens": 9, "messages": HI, **wanted}


def test_options_become_those_of_chat_and_the_rest_is_left_out() -> None:
    got = chat(
        stop_sequences=["End"],
        temperature=1,
        top_p=0.5,
        top_k=4,
        stream=True,
        metadata={"user_id": "eve"},
        service_tier="auto",
        thinking={"type": "enabled", "budget_tokens": 2000},
        output_config={"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        tool_choice={"type": "auto"},
    )
    assert got == {
        "model": "m",
        "max_tokens": 9,
        "messages": HI,
        "stop": ["End"],
        "temperature": 1,
        "top_p": 0.5,
        "top_k": 4,
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        "reasoning_effort": "low",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
        },
    }


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"mcp_servers": []}, "mcp_servers"),
        ({"n": 2}, "n"),
        ({"thinking": {"type": "sometimes"}}, "thinking.type"),
        ({"thinking": {"type": {}}}, "thinking.type"),
        ({"thinking": True}, "thinking.type"),
        ({"stop_sequences": "End"}, "stop_sequences"),
        ({"stop_sequences": [5]}, "stop_sequences"),
        ({"system": 5}, "system"),
        ({"system": [{"type": "image"}]}, "system[0].type"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "document"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file"}}]}]},
            "messages[0].content[0].source",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]},
            "messages[0].content[0].tool_use_id",
        ),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "server_tool_use"}]}]},
            "messages[0].content[0]",
        ),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0]"),
        ({"tools": [{}]}, "tools[0].name"),
        ({"tools": 5}, "tools"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"output_config": 5}, "output_config"),
        ({"output_config": {"format": {"type": "grammar"}}}, "output_config.format"),
        ({"output_config": {"verbosity": "low"}}, "output_config.verbosity"),
    ],
)
def test_what_would_change_the_answer_is_refused_by_its_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Refusal) as refused:
        chat(**fields)
    assert (refused.value.status, refused.value.param) == (400, param)
    assert f"'{param}'" in refused.value.message
