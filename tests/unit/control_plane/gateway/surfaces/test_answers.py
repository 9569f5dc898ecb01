"""Both surfaces' answers: what is streamed adds up to the whole answer, and every text is exact."""

import json
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.gateway.surfaces import messages_request, responses_request
from control_plane.gateway.surfaces.answer import Answer
from control_plane.gateway.surfaces.messages_answer import error_body

# Split anywhere: between a letter and its accent, between the parts of a flag or a family.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12) | st.sampled_from(
    ["e\u0301", "👨‍👩‍👧", "🇫🇷", '"\\\n\n', "data: [DONE]\n\n"]
)
USAGE = {"prompt_tokens": 11, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}
CALL = {"id": "call-1", "type": "function", "function": {"name": "f", "arguments": '{"a": "é"}'}}


def responses() -> Answer:
    return responses_request.translate({"model": "m", "input": "hi", "stream": True}).answer


def messages(**fields: Any) -> Answer:
    hi = [{"role": "user", "content": "hi"}]
    body = {"model": "m", "max_tokens": 9, "messages": hi, "thinking": {"type": "adaptive"}, **fields}
    return messages_request.translate(body).answer


def head(**fields: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-7", "created": 3, "model": "m", **fields}


def streamed(
    answer: Answer, reasoning: str, texts: list[str], calls: list[dict[str, Any]], finish: str
) -> Iterator[dict[str, Any]]:
    """The data of every event, after checking its form."""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"reasoning": character} for character in reasoning]
    deltas += [{"content": text} for text in texts]
    for number, call in enumerate(calls):
        deltas.append({"tool_calls": [{**call, "index": number}]})
    chunks = [head(choices=[{"index": 0, "delta": delta}]) for delta in deltas]
    chunks.append(head(choices=[{"index": 0, "delta": {}, "finish_reason": finish}]))
    out = b"".join(map(answer.chunk, chunks)) + answer.chunk(head(choices=[], usage=USAGE)) + answer.end()
    assert out.endswith(b"\n\n")
    for event in out[:-2].split(b"\n\n"):
        name, data = event.split(b"\n")
        value = json.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + value["type"].encode()
        yield value


def whole(
    answer: Answer, reasoning: str, texts: list[str], calls: list[dict[str, Any]], finish: str
) -> dict[str, Any]:
    message = {"reasoning": reasoning or None, "content": "".join(texts), "tool_calls": calls}
    value = head(choices=[{"index": 0, "message": message, "finish_reason": finish}], usage=USAGE)
    found: dict[str, Any] = orjson.loads(answer.whole(value))
    return found


said = given(
    st.sampled_from(["", "hm", "né"]),
    st.lists(TEXTS, max_size=6),
    st.sampled_from([[], [CALL], [CALL, {**CALL, "id": "call-2"}]]),
    st.sampled_from(["stop", "length", "tool_calls"]),
)


@said
def test_a_streamed_response_ends_as_the_whole_one(
    reasoning: str, texts: list[str], calls: list[dict[str, Any]], finish: str
) -> None:
    events = list(streamed(responses(), reasoning, texts, calls, finish))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[0]["response"]["output"] == []
    last = events[-1]["response"]
    assert events[-1]["type"] == f"response.{last['status']}"
    assert last == whole(responses(), reasoning, texts, calls, finish)
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert text == "".join(texts)
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == last["output"]
    assert len({item["id"] for item in done}) == len(done)


@said
def test_a_streamed_message_adds_up_to_the_whole_one(
    reasoning: str, texts: list[str], calls: list[dict[str, Any]], finish: str
) -> None:
    start, *events, end, stop = streamed(messages(), reasoning, texts, calls, finish)
    message = start["message"]
    assert message["content"] == []
    grown: list[str] = []
    for event in events:
        index = event["index"]
        if event["type"] == "content_block_start":
            assert index == len(message["content"])
            message["content"].append(event["content_block"])
            grown.append("")
        elif event["type"] == "content_block_delta":
            assert index == len(grown) - 1
            [grew] = [value for key, value in event["delta"].items() if key != "type"]
            grown[index] += grew
    for block, text in zip(message["content"], grown, strict=True):
        key = {"text": "text", "thinking": "thinking", "tool_use": "input"}[block["type"]]
        block[key] = json.loads(text) if key == "input" else text
    assert {**message, **end["delta"], "usage": end["usage"]} == whole(
        messages(), reasoning, texts, calls, finish
    )
    assert stop == {"type": "message_stop"}


def test_cached_tokens_are_told_as_each_api_tells_them() -> None:
    response = whole(responses(), "", ["x"], [], "stop")
    assert response["usage"]["input_tokens"] == 11
    assert response["usage"]["input_tokens_details"]["cached_tokens"] == 4
    message = whole(messages(), "", ["x"], [], "stop")
    usage = message["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]) == (7, 4, 5)


def test_a_character_that_comes_in_two_halves_is_one_for_the_client() -> None:
    for answer in (responses(), messages()):
        halves = [{"content": half} for half in ("\ud83c", "\udf0d")]
        out = b"".join(answer.chunk(head(choices=[{"index": 0, "delta": half}])) for half in halves)
        out += answer.end()
        text = "".join(
            event["delta"] if isinstance(event["delta"], str) else event["delta"].get("text", "")
            for line in out.split(b"\n")
            if line.startswith(b"data: ") and "delta" in (event := json.loads(line[6:]))
        )
        assert text.encode("utf-16", "surrogatepass").decode("utf-16") == "🌍"


@pytest.mark.parametrize("arguments", ['{"a": "cut o', "[1]", "5"])
def test_arguments_that_are_no_object_are_passed_on_as_they_are(arguments: str) -> None:
    call = {**CALL, "function": {"name": "f", "arguments": arguments}}
    message = whole(messages(), "", [], [call], "length")
    assert message["content"][0]["input"] == {"INVALID_JSON": arguments}
    response = whole(responses(), "", [], [call], "length")
    assert response["output"][0]["arguments"] == arguments


def test_reasoning_that_is_not_shown_sends_pings() -> None:
    answer = messages(thinking=None)
    out = answer.chunk(head(choices=[{"index": 0, "delta": {"reasoning": "hm"}}]))
    assert out.startswith(b"event: message_start\n")
    again = answer.chunk(head(choices=[{"index": 0, "delta": {"reasoning": "hm"}}]))
    assert again == b'event: ping\ndata: {"type":"ping"}\n\n'


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "x", "code": "stream_broken"}, "api_error"),
        ({"message": "x", "code": "quota_exceeded"}, "rate_limit_error"),
        ({"message": "x", "code": "records_unavailable"}, "overloaded_error"),
        ({"message": "x", "code": 400}, "invalid_request_error"),
        ({"message": "x", "code": None}, "api_error"),
    ],
)
def test_an_error_in_a_stream_of_messages_has_the_type_of_its_status(
    error: dict[str, Any], kind: str
) -> None:
    name, data = messages().error(error).strip().split(b"\n")
    assert name == b"event: error"
    told = json.loads(data.removeprefix(b"data: "))["error"]
    assert told == {"type": kind, "message": "x", "code": error["code"]}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
    ],
)
def test_an_errors_type_follows_its_status(status: int, kind: str) -> None:
    body = json.loads(error_body(status, b'{"error":{"message":"x","code":"c"}}'))
    assert body == {"type": "error", "error": {"type": kind, "message": "x", "code": "c"}}
    assert json.loads(error_body(status, b"junk"))["error"]["type"] == kind


def test_a_response_that_has_begun_fails_before_its_error() -> None:
    answer = responses()
    answer.chunk(head(choices=[{"index": 0, "delta": {"content": "x"}}]))
    failed, error = answer.error({"message": "broke", "code": "stream_broken"})[:-2].split(b"\n\n")
    assert failed.startswith(b"event: response.failed\n")
    response = json.loads(failed.split(b"data: ")[1])["response"]
    assert (response["status"], response["error"]["message"]) == ("failed", "broke")
    assert json.loads(error.split(b"data: ")[1])["code"] == "stream_broken"
    assert b"response.failed" not in responses().error({"message": "none yet", "code": "c"})
