"""Metering a vendor's stream, whatever form it comes in."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.economy import Tokens
from control_plane.gateway.metering import StreamMeter, StreamTooLarge
from control_plane.gateway.vendor_metering import Estimate, NotAnAnswer, VendorMeter, tokens_of_answer

ESTIMATE = Estimate(prompt_tokens=9, most_completion_tokens=50)
USAGE = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
END = b"data: [DONE]\n\n"


def meter(*, choices: int = 1, keep: bool = False, most: int = 100_000) -> VendorMeter:
    return VendorMeter(choices=choices, keep_usage=keep, max_event_bytes=most, estimate=ESTIMATE)


def event(value: object, end: bytes = b"\n\n") -> bytes:
    return b"data: " + json.dumps(value).encode() + end


def chunk(content: str | None = None, *, index: int = 0, finish: str | None = None, **more: Any) -> bytes:
    delta = {} if content is None else {"content": content}
    return event({"choices": [{"index": index, "delta": delta, "finish_reason": finish}], **more})


def values(out: bytes) -> list[Any]:
    """The events as a client reads them."""
    assert out == b"" or out.endswith(b"\n\n")
    return [json.loads(one.removeprefix(b"data: ")) for one in out.split(b"\n\n")[:-1]]


def text(out: bytes) -> str:
    return "".join(
        choice["delta"].get("content") or "" for value in values(out) for choice in value["choices"]
    )


ROLE = event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}], "usage": None})
LAST = event({"choices": [], "usage": USAGE})
PLAIN = [ROLE, chunk("Hel", usage=None), chunk("lo", usage=None), chunk(finish="stop", usage=None), LAST, END]


def _pretty(one: bytes) -> bytes:
    value = json.dumps(json.loads(one.removeprefix(b"data: ")), indent=2)
    return b"".join(b"data: " + line.encode() + b"\r\n" for line in value.split("\n")) + b"\r\n"


FORMS = {
    "as it is": b"".join(PLAIN),
    "crlf": b"".join(PLAIN).replace(b"\n", b"\r\n"),
    "comments": b"".join(b": PROCESSING\n\n" + one for one in PLAIN),
    "named events": b"".join(b"event: chunk\nid: 1\n" + one for one in PLAIN),
    "no space after the colon": b"".join(PLAIN).replace(b"data: ", b"data:"),
    "pretty": b"".join(map(_pretty, PLAIN[:-1])) + END,
    "usage in the last chunk with a choice": b"".join([*PLAIN[:3], chunk(finish="stop", usage=USAGE), END]),
    "running usage in every chunk": b"".join(
        [
            chunk("Hel", usage={"prompt_tokens": 11, "completion_tokens": 1}),
            chunk("lo", usage={"prompt_tokens": 11, "completion_tokens": 2}),
            chunk(finish="stop", usage=USAGE),
            END,
        ]
    ),
    "no blank line after the end marker": b"".join(PLAIN[:-1]) + b"data: [DONE]\n",
    "an end marker without a line end": b"".join(PLAIN[:-1]) + b"data: [DONE]",
    "no end marker": b"".join(PLAIN[:-1]),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_stream_is_metered_and_comes_out_the_same(form: str) -> None:
    one = meter()
    out = one.feed(FORMS[form]) + one.feed(b"")
    assert one.done
    assert one.error is None
    assert text(out) == "Hello"
    assert all("usage" not in value for value in values(out))
    assert one.generated == Tokens(11, 3)


@pytest.mark.parametrize("form", FORMS)
@given(cuts=st.lists(st.integers(0, 2000), max_size=12))
def test_however_the_bytes_are_split_the_same_bytes_come_out(form: str, cuts: list[int]) -> None:
    data = FORMS[form]
    whole, split = meter(keep=True), meter(keep=True)
    expected = whole.feed(data) + whole.feed(b"")
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    pieces = [data[begin:end] for begin, end in itertools.pairwise(places)]
    assert b"".join(map(split.feed, pieces)) + split.feed(b"") == expected
    assert (split.done, split.generated) == (True, whole.generated)


@pytest.mark.parametrize("form", ["crlf", "pretty", "usage in the last chunk with a choice"])
def test_the_engines_meter_would_not_do_for_vendors(form: str) -> None:
    engines = StreamMeter(choices=1, keep_usage=False, keep_running_usage=False, max_event_bytes=100_000)
    engines.feed(FORMS[form])
    told = engines.generated
    assert (engines.done, told.prompt, told.completion) != (True, 11, 3)


def test_usage_that_was_asked_for_stays_and_unasked_a_choices_chunk_loses_only_that() -> None:
    data = chunk("x", usage=None) + chunk("y", usage=USAGE, id="a") + LAST
    assert meter(keep=True).feed(data) == data
    assert [sorted(value) for value in values(meter().feed(data))] == [["choices"], ["choices", "id"]]


def test_an_event_that_needs_no_change_comes_out_as_its_very_bytes() -> None:
    odd = b'data: {"choices" : [{"delta":{"content":"\\u0041"}}], "n": 1.50}'
    assert meter().feed(odd + b"\r\n\r\n") == odd + b"\n\n"


def test_nothing_comes_out_before_the_first_content() -> None:
    one = meter()
    assert one.feed(event({"choices": [], "prompt_filter_results": []}) + ROLE) == b""
    assert not one.content
    assert len(values(one.feed(chunk("hi")))) == 3
    assert one.content


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "x"},
        {"reasoning_content": "x"},
        {"reasoning": "x"},
        {"refusal": "x"},
        {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": ""}}]},
        {"content": [{"type": "thinking", "thinking": "x"}]},
    ],
)
def test_whatever_is_an_answer_counts_as_content_and_as_a_token(delta: dict[str, Any]) -> None:
    one = meter()
    assert one.feed(event({"choices": [{"index": 0, "delta": {"role": "assistant", **delta}}]}))
    assert one.content
    assert one.generated.completion >= 1


def test_an_answer_without_text_is_content_once_it_is_finished() -> None:
    one = meter()
    assert one.feed(ROLE + chunk(finish="stop"))
    assert one.generated == Tokens(9, 0)


def test_an_error_is_found_before_content_and_after_and_ends_what_comes_out() -> None:
    error = {"message": "overloaded", "code": 529}
    before, after = meter(), meter()
    assert before.feed(ROLE + b"event: error\n" + event({"error": error}) + END) == b""
    assert text(after.feed(chunk("x") + event({"error": "broken", "choices": []}) + chunk("y"))) == "x"
    assert (before.error, before.done) == (error, False)
    assert (after.error, after.done) == ({"message": "broken"}, False)


@pytest.mark.parametrize(
    "junk", [b"data: {oops\n\n", b"data: [1]\n\n", b"data: \xff\xfe\n\n", b"data: 7\n\n"]
)
def test_an_event_that_is_no_json_object_is_an_error_and_does_not_come_out(junk: bytes) -> None:
    one = meter()
    assert text(one.feed(chunk("x") + junk + chunk("y"))) == "x"
    assert one.error == {"message": "an event of its stream is no JSON object"}


def test_a_stream_that_breaks_off_in_an_event_is_not_done() -> None:
    one = meter()
    one.feed(chunk("x") + b'data: {"choices": [{"ind')
    assert one.feed(b"") == b""
    assert (one.done, one.error) == (False, None)


def test_a_stream_without_an_end_marker_is_done_only_when_every_choice_has_finished() -> None:
    one = meter(choices=2)
    one.feed(chunk("x", index=0, finish="stop") + chunk("y", index=1))
    one.feed(b"")
    assert not one.done
    one.feed(chunk("", index=1, finish="length"))
    assert not one.done
    one.feed(b"")
    assert one.done


def test_nothing_comes_out_after_the_end_marker() -> None:
    one = meter()
    assert text(one.feed(chunk("x") + END + chunk("y"))) == "x"
    assert one.feed(chunk("z")) == b""


def test_without_usage_the_answer_is_estimated_by_pieces_or_bytes_whichever_is_more() -> None:
    pieces, size = meter(), meter()
    pieces.feed(b"".join(chunk("a") for _ in range(7)))
    size.feed(chunk("four" * 5) + chunk("☃"))
    assert pieces.generated == Tokens(9, 7)
    # 20 bytes and 3 more.
    assert size.generated == Tokens(9, 6)


def test_an_estimate_never_exceeds_what_was_held() -> None:
    one = meter()
    one.feed(chunk("word" * 1000))
    one.mark_delivered()
    assert one.generated == one.delivered == Tokens(9, 50)


def test_what_is_claimed_is_told_from_what_is_estimated() -> None:
    one = meter()
    one.feed(chunk("hello"))
    one.mark_delivered()
    assert (one.claimed, one.claimed_delivered, one.estimated_delivered) == (None, None, Tokens(9, 2))
    one.feed(LAST)
    assert (one.claimed, one.claimed_delivered, one.estimated_delivered) == (
        Tokens(11, 3),
        Tokens(11, 2),
        None,
    )


def test_delivered_is_what_came_out_before_the_last_mark_and_no_more_than_is_billed() -> None:
    one = meter()
    one.feed(chunk("one") + chunk(" two"))
    one.mark_delivered()
    one.feed(chunk(" 3"))
    assert (one.delivered, one.generated) == (Tokens(9, 2), Tokens(9, 3))
    one.feed(event({"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 1}}))
    assert one.delivered == Tokens(11, 1)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        "x",
        [],
        {"prompt_tokens": 3},
        {"prompt_tokens": None, "completion_tokens": 2},
        {"prompt_tokens": -1, "completion_tokens": 2},
        {"prompt_tokens": 1.5, "completion_tokens": 2},
        {"prompt_tokens": True, "completion_tokens": 2},
        {"prompt_tokens": 1, "completion_tokens": 2**63},
    ],
)
def test_usage_that_cannot_be_used_is_none(usage: object) -> None:
    one = meter()
    one.feed(chunk("hello") + event({"choices": [], "usage": usage}))
    assert one.generated == Tokens(9, 2)


def test_reasoning_that_only_the_total_has_is_counted_as_it_is_billed() -> None:
    one = meter()
    one.feed(chunk("x") + event({"choices": [], "usage": {**USAGE, "total_tokens": 500}}))
    assert one.generated == Tokens(11, 489)


def test_a_character_that_was_split_in_two_halves_comes_through() -> None:
    data = chunk("\ud83d", usage=None) + chunk("\ude00", usage=None)
    one = meter()
    halves = text(one.feed(data))
    assert halves.encode("utf-16", "surrogatepass").decode("utf-16") == "😀"
    assert one.error is None


@pytest.mark.parametrize("choices", [None, 3, [None], [{}], [{"delta": None}], [{"delta": 3, "index": "x"}]])
def test_choices_of_any_shape_do_no_harm(choices: object) -> None:
    one = meter()
    one.feed(event({"choices": choices}) + chunk("x"))
    assert one.content
    assert one.generated == Tokens(9, 1)


def test_an_event_or_a_beginning_larger_than_allowed_is_an_error() -> None:
    with pytest.raises(StreamTooLarge):
        meter(most=100).feed(b"data: " + b"x" * 200)
    with pytest.raises(StreamTooLarge, match="before the first content"):
        meter(most=1000).feed(ROLE * 20)


def test_a_whole_answer_is_metered_in_any_form() -> None:
    answer = {"choices": [{"message": {"content": "Hello"}}], "usage": USAGE}
    for indent in (None, 2):
        told = tokens_of_answer(json.dumps(answer, indent=indent).encode(), ESTIMATE)
        assert told == (Tokens(11, 3), None)
    tool = {"choices": [{"message": {"tool_calls": [{"function": {"name": "f", "arguments": "x" * 39}}]}}]}
    assert tokens_of_answer(json.dumps(tool).encode(), ESTIMATE) == (None, Tokens(9, 10))
    text = b'{"choices": [{"text": "12345678"}], "usage": null}'
    assert tokens_of_answer(text, ESTIMATE) == (None, Tokens(9, 2))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no JSON object"),
        (b"<html>", "no JSON object"),
        (b"[]", "no JSON object"),
        (b"{}", "an object without choices"),
        (b'{"choices": []}', "an object without choices"),
        (b'{"error": {"message": "busy"}, "choices": [{}]}', "an error with status 200"),
    ],
)
def test_what_is_no_answer_is_told_from_one(body: bytes, words: str) -> None:
    with pytest.raises(NotAnAnswer, match=words):
        tokens_of_answer(body, ESTIMATE)
