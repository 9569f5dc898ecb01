"""What of a call goes to a vendor."""

import json
from typing import Any

import pytest

from control_plane.economy import PriceTerms
from control_plane.gateway.request import (
    CHAT_COMPLETIONS,
    COMPLETIONS,
    EMBEDDINGS,
    InferenceRequest,
    read_request,
)
from control_plane.gateway.vendor_request import NotForVendors, for_vendor, http_post
from control_plane.vendors import Vendor, VendorModel, parse_base_url

MODEL = VendorModel("example", "small", "their/small", 32_768, 4_096, PriceTerms(1, 1, 1))
NEWER = VendorModel(
    "example", "small", "their/small", 32_768, 4_096, PriceTerms(1, 1, 1), "max_completion_tokens"
)
HI: Any = [{"role": "user", "content": "hi"}]


def request(path: str = CHAT_COMPLETIONS, **fields: Any) -> InferenceRequest:
    base = {"messages": HI} if path == CHAT_COMPLETIONS else {"prompt": "hi"}
    return read_request(path, json.dumps({"model": "small", **base, **fields}).encode())


def sent(model: Any = MODEL, path: Any = CHAT_COMPLETIONS, **fields: Any) -> Any:
    return json.loads(for_vendor(request(path, **fields), model, 64))


def test_the_model_is_the_vendors_and_the_limit_is_what_was_held() -> None:
    assert sent() == {"model": "their/small", "messages": HI, "max_tokens": 64}
    assert sent(max_tokens=9) == sent()


def test_the_limit_goes_out_in_the_field_that_the_client_used_or_the_model_wants() -> None:
    newer = {"model": "their/small", "messages": HI, "max_completion_tokens": 64}
    assert sent(max_completion_tokens=9) == newer
    assert sent(max_completion_tokens=9, max_tokens=5) == newer
    assert sent(NEWER) == sent(NEWER, max_tokens=9) == newer


def test_usage_is_asked_for_in_every_stream_and_nothing_else_of_the_options_goes_out() -> None:
    options = {"include_usage": False, "continuous_usage_stats": True, "include_obfuscation": True}
    body = sent(stream=True, stream_options=options)
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})
    assert "stream" not in sent(stream=False)


def test_what_vendors_know_goes_out_as_it_is() -> None:
    fields = {
        "temperature": 0.25,
        "top_p": 1,
        "n": 2,
        "stop": ["a", "b"],
        "seed": 7,
        "logprobs": True,
        "top_logprobs": 3,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": "auto",
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}},
        "reasoning_effort": "low",
    }
    body = sent(**fields)
    assert {key: body[key] for key in fields} == fields


@pytest.mark.parametrize(
    "field",
    [
        "priority", "cache_salt", "request_id", "kv_transfer_params", "user", "store", "metadata",
        "service_tier", "safety_identifier", "prompt_cache_key", "min_p", "top_k", "repetition_penalty",
    ],
)  # fmt: skip
def test_what_is_the_gateways_or_names_the_user_or_is_vllms_alone_is_left_out(field: str) -> None:
    assert sent(**{field: 3}) == sent()


@pytest.mark.parametrize("value", [None, False, "", [], {}])
def test_a_field_that_says_nothing_is_left_out(value: object) -> None:
    assert sent(guided_json=value, echo=value, anything=value, temperature=None) == sent()


@pytest.mark.parametrize(
    "field",
    ["guided_json", "structured_outputs", "chat_template", "logit_bias", "use_beam_search", "modalities",
     "web_search_options", "best_of", "prompt_logprobs", "documents", "unheard_of"],
)  # fmt: skip
def test_a_field_that_the_answer_depends_on_keeps_the_call_away_from_vendors(field: str) -> None:
    with pytest.raises(NotForVendors, match=field) as caught:
        sent(**{field: {"x": 1}})
    assert caught.value.param == field


def test_messages_keep_what_vendors_know_of_them() -> None:
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    messages = [
        {"role": "assistant", "content": None, "tool_calls": calls, "reasoning": "hm", "audio": None},
        {"role": "tool", "tool_call_id": "c", "content": "7", "cache_control": {"type": "ephemeral"}},
    ]
    assert sent(messages=messages)["messages"] == [
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c", "content": "7"},
    ]


def test_media_travel_with_the_call() -> None:
    parts = [
        {"type": "text", "text": "what is it?", "cache_control": {}},
        {
            "type": "image_url",
            "image_url": {"url": "DATA:image/png;base64,AAAA", "detail": "low"},
            "uuid": "1",
        },
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ]
    assert sent(messages=[{"role": "user", "content": parts}])["messages"][0]["content"] == [
        {"type": "text", "text": "what is it?"},
        {"type": "image_url", "image_url": {"url": "DATA:image/png;base64,AAAA", "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://elsewhere.example/x.png"}},
        {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
        {"type": "image_url", "image_url": {"url": None}},
        {"type": "image_url", "image_url": "data:image/png;base64,AAAA"},
        {"type": "image_url"},
        {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}},
        # Of the operator's own account.
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "text", "text": 3},
        {"type": ["text"]},
        {},
        "text",
    ],
)
def test_what_would_be_fetched_from_elsewhere_keeps_the_call_away(part: object) -> None:
    with pytest.raises(NotForVendors, match=r"messages\[1\]\.content"):
        sent(messages=[*HI, {"role": "user", "content": [part]}])


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"tools": [{"type": "function"}, "x"]}, "tools[1]"),
        ({"tools": {"type": "function"}}, "tools"),
        ({"response_format": {"type": "structural_tag"}}, "response_format"),
        ({"response_format": "json"}, "response_format"),
    ],
)
def test_tools_that_the_vendor_would_run_and_forms_that_it_does_not_know_keep_the_call_away(
    fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(NotForVendors) as caught:
        sent(**fields)
    assert caught.value.param == param


def test_completions_take_text_and_no_tokens() -> None:
    assert sent(path=COMPLETIONS, prompt=["a", "b"], suffix="c") == {
        "model": "their/small",
        "prompt": ["a", "b"],
        "suffix": "c",
        "max_tokens": 64,
    }
    for prompt in (None, [], [1, 2], [[1, 2]]):
        with pytest.raises(NotForVendors, match="prompt"):
            sent(path=COMPLETIONS, prompt=prompt)


def test_vendors_are_asked_for_no_embeddings() -> None:
    embedding = read_request(EMBEDDINGS, b'{"model": "small", "input": "hi"}')
    with pytest.raises(NotForVendors, match="no embeddings"):
        for_vendor(embedding, MODEL, 0)


@pytest.mark.parametrize(
    ("url", "line", "host"),
    [
        ("https://api.example/v1", "POST /v1/chat/completions HTTP/1.1", "api.example"),
        ("https://api.example:444/openai/v2", "POST /openai/v2/chat/completions HTTP/1.1", "api.example:444"),
        ("https://[fd00::1]", "POST /chat/completions HTTP/1.1", "[fd00::1]"),
    ],
)
def test_the_request_has_the_key_and_no_header_of_the_clients(url: str, line: str, host: str) -> None:
    vendor = Vendor("example", parse_base_url(url), "sk-secret", None, {})
    head, _, body = http_post(vendor, CHAT_COMPLETIONS, b"{}", streamed=True).partition(b"\r\n\r\n")
    assert body == b"{}"
    assert head.decode().split("\r\n") == [
        line,
        f"host: {host}",
        "authorization: Bearer sk-secret",
        "user-agent: daalu",
        "accept: text/event-stream",
        "accept-encoding: identity",
        "content-type: application/json",
        "content-length: 2",
    ]
