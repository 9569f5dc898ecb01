"""What of a request may go to a card that others share."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.gateway.allowlist import (
    MOST_CHOICES,
    MOST_LOGPROBS,
    MOST_PROMPTS,
    MOST_SCHEMA_BYTES,
    check_shared,
    without_dropped,
)
from control_plane.gateway.errors import Refusal
from control_plane.gateway.request import CHAT_COMPLETIONS, COMPLETIONS, EMBEDDINGS, read_request

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
COMPLETION: dict[str, Any] = {"model": "m", "prompt": "hi"}
EMBEDDING: dict[str, Any] = {"model": "m", "input": "hi"}
BODIES = {CHAT_COMPLETIONS: CHAT, COMPLETIONS: COMPLETION, EMBEDDINGS: EMBEDDING}
DROPPED = (
    "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "verbosity",
)  # fmt: skip
OURS = ("priority", "cache_salt", "request_id")

SAMPLING: dict[str, Any] = {
    "max_tokens": 5, "temperature": 0.5, "top_p": 0.9, "top_k": 5, "min_p": 0.1, "n": 2, "stop": ["a"],
    "stop_token_ids": [1], "seed": 7, "presence_penalty": 0.1, "frequency_penalty": 0.1,
    "repetition_penalty": 1.1, "length_penalty": 1.0, "logit_bias": {"5": 1}, "stream": True,
    "stream_options": {"include_usage": True}, "response_format": {"type": "json_object"},
    "structured_outputs": {"choice": ["a", "b"]}, "ignore_eos": True, "min_tokens": 1,
    "skip_special_tokens": True, "spaces_between_special_tokens": True, "add_special_tokens": False,
    "include_stop_str_in_output": True, "return_tokens_as_token_ids": True,
}  # fmt: skip
CHATS_OWN: dict[str, Any] = {
    "max_completion_tokens": 5, "logprobs": True, "top_logprobs": 5, "tool_choice": "auto",
    "tools": [{"type": "function", "function": {"name": "f"}}], "parallel_tool_calls": True,
    "reasoning_effort": "low", "include_reasoning": True, "add_generation_prompt": True,
    "continue_final_message": False,
}  # fmt: skip
COMPLETIONS_OWN: dict[str, Any] = {"logprobs": 5, "suffix": "x", "echo": True}
# What vLLM knows and a shared card does not take.
REFUSED = (
    "kv_transfer_params", "vllm_xargs", "chat_template", "chat_template_kwargs", "mm_processor_kwargs",
    "media_io_kwargs", "prompt_logprobs", "prompt_embeds", "use_beam_search", "best_of", "bad_words",
    "allowed_token_ids", "logits_processors", "truncate_prompt_tokens", "documents", "guided_json",
    "guided_regex", "guided_grammar", "functions", "function_call", "return_token_ids", "audio",
    "modalities", "web_search_options", "data_parallel_rank",
)  # fmt: skip


def check(body: dict[str, Any], path: str = CHAT_COMPLETIONS) -> None:
    check_shared(read_request(path, orjson.dumps(body)))


def refused(body: dict[str, Any], path: str = CHAT_COMPLETIONS) -> str | None:
    """The field that is named."""
    with pytest.raises(Refusal) as refusal:
        check(body, path)
    assert (refusal.value.status, refusal.value.code) == (400, "field_not_shared")
    assert f"'{refusal.value.param}'" in refusal.value.message
    return refusal.value.param


def test_everything_that_a_call_needs_is_taken() -> None:
    check({**CHAT, **SAMPLING, **CHATS_OWN})
    # Echoed prompts with their log probabilities are too much of an answer to share a card with.
    completion = {**COMPLETION, **SAMPLING, **COMPLETIONS_OWN}
    assert refused(completion, COMPLETIONS) == "echo"
    check({**completion, "logprobs": None}, COMPLETIONS)
    check({**completion, "echo": False}, COMPLETIONS)
    check({**EMBEDDING, "encoding_format": "float", "dimensions": 5, "add_special_tokens": True}, EMBEDDINGS)


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("field", REFUSED)
def test_a_field_that_no_shared_card_takes_is_refused_by_its_name(field: str, path: str) -> None:
    assert refused({**BODIES[path], field: {"a": 1}}, path) == field


@pytest.mark.parametrize("path", BODIES)
@given(st.text(st.characters(codec="ascii"), min_size=1, max_size=20), st.integers(0, 9) | st.just({}))
def test_a_field_that_nobody_knows_is_refused(path: str, field: str, value: Any) -> None:
    known = {*SAMPLING, *CHATS_OWN, *COMPLETIONS_OWN, *DROPPED, *OURS, "messages", "prompt", "input", "model"}
    known |= {"encoding_format", "dimensions"}
    if field not in known:
        assert refused({**BODIES[path], field: value}, path) == field


@pytest.mark.parametrize("field", REFUSED)
def test_a_field_of_no_value_is_as_if_it_were_not_there(field: str) -> None:
    check({**CHAT, field: None})


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (COMPLETIONS, "messages"),
        (COMPLETIONS, "tools"),
        (CHAT_COMPLETIONS, "prompt"),
        (CHAT_COMPLETIONS, "echo"),
        (EMBEDDINGS, "messages"),
        (EMBEDDINGS, "temperature"),
    ],
)
def test_a_field_of_another_path_is_refused(path: str, field: str) -> None:
    assert refused({**BODIES[path], field: "x"}, path) == field


@pytest.mark.parametrize("path", BODIES)
def test_who_asks_is_no_reason_to_refuse_and_is_not_sent(path: str) -> None:
    body = {**BODIES[path], **dict.fromkeys(DROPPED, "x")}
    check(body, path)
    assert without_dropped(body) == BODIES[path]


@pytest.mark.parametrize("field", OURS)
def test_what_the_gateway_sets_is_no_reason_to_refuse(field: str) -> None:
    check({**CHAT, field: 1})


@pytest.mark.parametrize(
    ("path", "change", "field"),
    [
        (CHAT_COMPLETIONS, {"n": MOST_CHOICES + 1}, "n"),
        (COMPLETIONS, {"prompt": ["x"] * (MOST_PROMPTS + 1)}, "prompt"),
        (COMPLETIONS, {"prompt": [[1]] * (MOST_PROMPTS + 1)}, "prompt"),
        (EMBEDDINGS, {"input": ["x"] * (MOST_PROMPTS + 1)}, "input"),
        (COMPLETIONS, {"logprobs": MOST_LOGPROBS + 1}, "logprobs"),
        (CHAT_COMPLETIONS, {"top_logprobs": MOST_LOGPROBS + 1}, "top_logprobs"),
        # An engine takes these for all of its vocabulary, and for 50.
        (CHAT_COMPLETIONS, {"top_logprobs": -1}, "top_logprobs"),
        (CHAT_COMPLETIONS, {"top_logprobs": 50.0}, "top_logprobs"),
        (CHAT_COMPLETIONS, {"top_logprobs": "50"}, "top_logprobs"),
        (COMPLETIONS, {"logprobs": -1}, "logprobs"),
        (COMPLETIONS, {"logprobs": [1]}, "logprobs"),
        (CHAT_COMPLETIONS, {"response_format": {"a": "x" * MOST_SCHEMA_BYTES}}, "response_format"),
        (CHAT_COMPLETIONS, {"structured_outputs": {"a": "x" * MOST_SCHEMA_BYTES}}, "structured_outputs"),
        (CHAT_COMPLETIONS, {"tools": ["x" * MOST_SCHEMA_BYTES]}, "tools"),
    ],
)
def test_what_costs_a_card_more_than_its_tokens_say_is_capped(
    path: str, change: dict[str, Any], field: str
) -> None:
    assert refused({**BODIES[path], **change}, path) == field


@pytest.mark.parametrize(
    ("path", "change"),
    [
        (CHAT_COMPLETIONS, {"n": MOST_CHOICES}),
        (COMPLETIONS, {"prompt": ["x"] * MOST_PROMPTS}),
        (COMPLETIONS, {"logprobs": MOST_LOGPROBS}),
        (CHAT_COMPLETIONS, {"top_logprobs": 0, "logprobs": False}),
    ],
)
def test_a_caps_own_value_is_taken(path: str, change: dict[str, Any]) -> None:
    check({**BODIES[path], **change}, path)


URL = "https://metadata.internal/secret"
PARTS: list[Any] = [
    {"type": "image_url", "image_url": {"url": URL}},
    {"type": "image_url", "image_url": URL},
    {"type": "image_url", "text": "hi", "image_url": {"url": URL}},
    {"type": "video_url", "video_url": {"url": URL, "detail": "low"}},
    {"type": "audio_url", "audio_url": {"url": "file:///etc/passwd"}},
    {"type": "image_url", "image_url": {"url": "//host/data:"}},
    {"type": "image_url", "image_url": {"url": " data:x"}},
    {"type": "image_url", "image_url": {"url": ""}},
    {"type": "image_url", "image_url": {"image": {"url": URL}}},
    {"type": "image_url", "image_url": [{"url": URL}]},
    {"type": "tool_result", "content": [{"type": "image_url", "image_url": {"url": URL}}]},
    [{"image_url": URL}],
]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: orjson.dumps(part).decode())
@pytest.mark.parametrize("role", ["user", "tool", "system"])
def test_a_url_that_a_card_would_fetch_is_refused_wherever_it_is(part: Any, role: str) -> None:
    messages = [*CHAT["messages"], {"role": role, "content": [{"type": "text", "text": "hi"}, part]}]
    assert refused({**CHAT, "messages": messages}) == "messages"


@pytest.mark.parametrize("url", ["data:image/png;base64,AAAA", "DATA:image/png;base64,AAAA"])
def test_media_within_the_request_itself_may_pass(url: str) -> None:
    part = {"type": "image_url", "image_url": {"url": url}}
    check({**CHAT, "messages": [{"role": "user", "content": [part]}]})


def test_a_url_in_a_text_is_text() -> None:
    check({**CHAT, "messages": [{"role": "user", "content": [{"type": "text", "text": URL}]}]})
    check({**CHAT, "messages": [{"role": "user", "content": URL}]})
