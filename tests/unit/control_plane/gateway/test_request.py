"""Requests: what is read of them, and what engines get."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.gateway.errors import Refusal
from control_plane.gateway.request import (
    CHAT_COMPLETIONS,
    COMPLETIONS,
    EMBEDDINGS,
    EngineFields,
    InferenceRequest,
    for_engine,
    read_request,
)

FIELDS = EngineFields(served_name="tiny", request_id="call-1", priority=0, cache_salt="salt")
CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
SET = {"model": "tiny", "request_id": "call-1", "priority": 0, "cache_salt": "salt"}


def read(body: object, path: str = CHAT_COMPLETIONS) -> InferenceRequest:
    return read_request(path, json.dumps(body).encode())


def sent(body: object) -> Any:
    return json.loads(for_engine(read(body), FIELDS))


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
EXTRA = st.dictionaries(
    TEXT.filter(lambda key: key not in {*CHAT, *SET, "stream", "stream_options", "n", "max_tokens"}),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | TEXT,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    ),
    max_size=5,
)


@given(EXTRA)
def test_every_other_field_reaches_the_engine_unchanged(extra: dict[str, Any]) -> None:
    extra.pop("max_completion_tokens", None)
    assert sent({**CHAT, **extra}) == {**CHAT, **extra, **SET}


def test_the_gateways_own_fields_are_dropped_when_a_client_sends_them() -> None:
    assert sent({**CHAT, "priority": 5, "cache_salt": "x", "request_id": [1]}) == {**CHAT, **SET}


def test_a_stream_is_metered_whatever_the_client_asked_for() -> None:
    usage = {"include_usage": True, "continuous_usage_stats": True}
    assert sent({**CHAT, "stream": True})["stream_options"] == usage
    theirs = {"include_usage": False, "continuous_usage_stats": False, "other": 1}
    assert sent({**CHAT, "stream": True, "stream_options": theirs})["stream_options"] == {**usage, "other": 1}


def test_options_without_a_stream_are_left_for_the_engine_to_refuse() -> None:
    body = {**CHAT, "stream_options": {"include_usage": True}}
    assert sent(body) == {**body, **SET}


@pytest.mark.parametrize(
    ("options", "usage", "running"),
    [
        (None, False, False),
        ({"include_usage": True}, True, False),
        ({"continuous_usage_stats": True}, False, False),
        ({"include_usage": True, "continuous_usage_stats": True}, True, True),
    ],
)
def test_the_usage_that_a_client_asked_for_is_known(options: Any, usage: bool, running: bool) -> None:
    request = read({**CHAT, "stream": True, "stream_options": options})
    assert (request.wants_usage, request.wants_running_usage) == (usage, running)


def test_the_request_itself_is_not_changed() -> None:
    request = read({**CHAT, "stream": True, "stream_options": {"x": 1}})
    before = json.dumps(request.body)
    for_engine(request, FIELDS)
    assert json.dumps(request.body) == before


def test_facts_for_the_router_are_read_from_text_and_parts() -> None:
    parts = [{"type": "text", "text": "abc"}, {"type": "image_url", "image_url": {"url": "data:..."}}]
    messages = [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None},
        CHAT["messages"][0],
    ]
    request = read({**CHAT, "messages": messages, "max_tokens": 5, "max_completion_tokens": 7, "n": 2})
    assert (request.prompt_characters, request.max_tokens, request.choices) == (5, 7, 2)
    assert read({"model": "m", "prompt": ["abc", "a"]}, COMPLETIONS).prompt_characters == 3
    assert read({"model": "m", "prompt": [1, 2]}, COMPLETIONS).prompt_characters == 0


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": ""}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": [{"content": 5}]}, "messages[0].content"),
        ({"stream": 1}, "stream"),
        ({"stream_options": "x"}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"n": 1.5}, "n"),
        ({"n": 10**9}, "n"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(change: dict[str, Any], param: str) -> None:
    with pytest.raises(Refusal) as refusal:
        read({**CHAT, **change})
    assert (refusal.value.status, refusal.value.param) == (400, param)


def test_an_embedding_request_is_read_for_its_inputs_and_has_no_output() -> None:
    several = read({"model": "m", "input": ["abc", "a"]}, EMBEDDINGS)
    assert (several.prompts, several.prompt_characters, several.max_tokens) == (2, 3, 0)
    assert read({"model": "m", "input": [1, 2, 3]}, EMBEDDINGS).prompts == 1
    sent = json.loads(for_engine(several, EngineFields("x", "call-1", 0, "salt", max_tokens=0)))
    assert "max_tokens" not in sent
    for wrong in ({"model": "m"}, {"model": "m", "input": 7}):
        with pytest.raises(Refusal) as refused:
            read(wrong, EMBEDDINGS)
        assert refused.value.param == "input"
