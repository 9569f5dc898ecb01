"""Token counts from an answer's bytes, however they are cut."""

import json

import pytest

from agent.engine.gate import UsageMeter
from tests.support.engine_gate import event

STREAM = event(0, 0) + event(1, 0) + event(0, 1) + event(1, 4) + event(0, 3)
BODY = json.dumps(
    {
        "choices": [{"index": 0, "message": {"content": 'say "usage":{"completion_tokens":99}'}}],
        "usage": {
            "prompt_tokens": 37,
            "total_tokens": 45,
            "completion_tokens": 8,
            "prompt_tokens_details": {"cached_tokens": 32},
        },
        "prompt_logprobs": [{"1": {"logprob": -0.5}}] * 2000,
    },
    separators=(",", ":"),
).encode()


def measure(data: bytes, size: int, *, streaming: bool) -> tuple[int, int]:
    meter = UsageMeter(streaming)
    for start in range(0, len(data), size):
        meter.feed(data[start : start + size])
    return meter.tokens()


@pytest.mark.parametrize("size", [1, 7, 64, 1000, 100_000])
def test_running_usage_is_summed_over_choices(size: int) -> None:
    assert measure(STREAM, size, streaming=True) == (19, 3 + 4)


@pytest.mark.parametrize("size", [1, 7, 64, 1000, 100_000])
def test_the_closing_chunk_has_the_sum(size: int) -> None:
    stream = STREAM + event(0, 5) + event(None, 10) + b"data: [DONE]\n\n"
    assert measure(stream, size, streaming=True) == (19, 10)


@pytest.mark.parametrize("size", [1, 7, 64, 1000, 100_000])
def test_a_body_is_read_wherever_its_usage_stands(size: int) -> None:
    assert measure(BODY, size, streaming=False) == (37, 8)


def test_text_that_looks_like_usage_is_not_counted() -> None:
    text = json.dumps('"usage":{"prompt_tokens":1,"completion_tokens":1000000}').encode()
    chunk = b'data: {"choices":[{"index":0,"delta":{"content":' + text + b"}}]}\n\n"
    assert measure(event(0, 2) + chunk, 50, streaming=True) == (19, 2)


@pytest.mark.parametrize("streaming", [True, False])
def test_an_answer_without_usage_counts_nothing(streaming: bool) -> None:
    assert measure(b'data: {"choices":[{"index":0}],"usage":null}\n\n', 10, streaming=streaming) == (0, 0)


def test_a_torn_usage_counts_nothing_and_breaks_nothing() -> None:
    assert measure(BODY[: BODY.index(b'"completion_tokens":8')], 4096, streaming=False) == (0, 0)


def test_an_unfinished_event_is_not_counted() -> None:
    assert measure(event(0, 1) + event(0, 2)[:-1], 4096, streaming=True) == (19, 1)
