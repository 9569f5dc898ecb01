"""Metering a stream of events."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.economy import Tokens
from control_plane.gateway.metering import END_MARKER, StreamMeter, StreamTooLarge, usage_of_answer
from tests.support.gateway_engine import END, PROMPT_TOKENS, answer, chunk, event, last_chunk, stream_of


def meter(
    *, choices: int = 1, keep: bool = False, running: bool = False, most: int = 100_000, prompts: int = 1
) -> StreamMeter:
    return StreamMeter(
        choices=choices,
        keep_usage=keep,
        keep_running_usage=running,
        max_event_bytes=most,
        prompts=prompts,
    )


ROLE = chunk("", role="assistant")
# What looks like usage or an error in a text is quoted there.
TRICKY = 'say ,"usage":{"prompt_tokens":9} or {"error": {}} data: [DONE]\n\ndata: x ☃🌍'


@given(
    st.lists(st.text(max_size=12) | st.just(TRICKY), min_size=1, max_size=6),
    st.lists(st.integers(0, 5000), max_size=20),
    st.booleans(),
    st.booleans(),
)
def test_however_the_bytes_are_split_the_same_bytes_come_out(
    words: list[str], cuts: list[int], keep: bool, running: bool
) -> None:
    data = b": hello\n\n" + b"".join(stream_of(*words))
    whole = meter(keep=keep, running=running)
    expected = whole.feed(data)
    split = meter(keep=keep, running=running)
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    pieces = [data[begin:end] for begin, end in itertools.pairwise(places)]
    assert b"".join(map(split.feed, pieces)) == expected
    assert split.done
    assert whole.done
    assert split.generated == whole.generated == Tokens(PROMPT_TOKENS, len(words) + 1)


@given(st.lists(st.text(max_size=12) | st.just(TRICKY), min_size=1, max_size=6))
def test_without_the_usage_every_chunk_is_as_an_engine_sends_it_unasked(words: list[str]) -> None:
    out = meter().feed(b"".join(stream_of(*words)))
    expected = []
    for one in stream_of(*words)[:-2]:
        value = json.loads(one.removeprefix(b"data: "))
        del value["usage"]
        expected.append(event(value))
    assert out == b"".join(expected)


def test_nothing_comes_out_before_the_first_content() -> None:
    one = meter()
    assert one.feed(b": keep-alive\n\n" + ROLE) == b""
    assert not one.content
    assert one.generated == Tokens(PROMPT_TOKENS, 0)
    out = one.feed(chunk("hi", done=1))
    assert (out.count(b"data: "), b"assistant" in out, one.content) == (2, True, True)


@pytest.mark.parametrize(
    "first",
    [
        chunk(tool_calls=[{"index": 0}], usage=False),
        chunk(reasoning="hm", usage=False),
        chunk("", finish="stop", usage=False),
        chunk("", done=1),
        event({"choices": [{"index": 0, "text": "x"}]}),
    ],
)
def test_whatever_is_an_answer_counts_as_content(first: bytes) -> None:
    one = meter()
    assert one.feed(first)
    assert one.content


def test_an_error_is_found_before_content_and_after() -> None:
    error = {"message": "bad", "code": 500}
    before, after = meter(), meter()
    assert before.feed(ROLE + event({"error": error}) + END) == b""
    assert (before.error, before.done) == (error, False)
    assert after.feed(chunk("x", done=1) + b'data: {"error": {"message": "bad", "code": 500}}\n\n' + END)
    assert (after.error, after.done) == (error, False)


def test_text_that_looks_like_an_error_is_none() -> None:
    one = meter()
    one.feed(chunk('{"error": {"message": "x"}}', done=1) + chunk("error", done=2))
    assert one.error is None


def test_the_end_marker_is_held_back_and_nothing_after_it_comes_out() -> None:
    one = meter()
    assert END_MARKER not in one.feed(chunk("x", done=1) + END + chunk("y", done=2))
    assert one.done
    assert one.generated == Tokens(PROMPT_TOKENS, 1)


def test_running_usage_is_summed_over_choices_and_prompts_are_counted_once_each() -> None:
    one = meter(choices=2, prompts=2)
    one.feed(b"".join(chunk("x", index=index, done=index + 1) for index in range(4)))
    one.feed(chunk("x", index=0, done=5))
    # One that nobody asked for.
    one.feed(chunk("x", index=4, done=1_000))
    assert one.generated == Tokens(2 * PROMPT_TOKENS, 5 + 2 + 3 + 4)


def test_delivered_tokens_are_those_before_the_last_mark() -> None:
    one = meter()
    one.feed(chunk("x", done=3))
    one.mark_delivered()
    one.feed(chunk("x", done=9))
    assert (one.delivered, one.generated) == (Tokens(PROMPT_TOKENS, 3), Tokens(PROMPT_TOKENS, 9))


def test_usage_with_details_two_levels_deep_is_taken_out_whole() -> None:
    usage: dict[str, Any] = {
        "prompt_tokens": 4,
        "total_tokens": 6,
        "completion_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 1, "multimodal_tokens": {"image": 3}},
    }
    value = {"choices": [{"index": 0, "delta": {"content": "x"}}], "usage": usage, "system_fingerprint": "f"}
    one = meter()
    assert one.feed(event(value)) == event({key: value[key] for key in ("choices", "system_fingerprint")})
    assert one.generated == Tokens(4, 2)


def test_an_event_or_a_beginning_larger_than_allowed_is_an_error() -> None:
    with pytest.raises(StreamTooLarge):
        meter(most=100).feed(b"data: " + b"x" * 200)
    with pytest.raises(StreamTooLarge):
        meter(most=1000).feed(ROLE * 20)


def test_the_usage_of_a_whole_answer_is_the_last_one_and_none_is_not_zero() -> None:
    body = json.dumps(answer(TRICKY, 7), separators=(",", ":")).encode()
    assert usage_of_answer(body) == Tokens(PROMPT_TOKENS, 7)
    assert usage_of_answer(b'{"choices":[]}') is None


def test_the_last_chunk_is_kept_for_who_asked_for_it() -> None:
    data = chunk("x", done=1) + last_chunk(1)
    assert last_chunk(1) not in meter().feed(data)
    assert meter(keep=True).feed(data).endswith(last_chunk(1))
    assert meter(keep=True, running=True).feed(data) == data
