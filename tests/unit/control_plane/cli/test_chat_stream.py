"""The words of a stream, and what is told where it has none."""

import json
from typing import Any

import pytest

from control_plane.cli.chat_stream import deltas
from control_plane.cli.failure import Failure


def _event(**delta: Any) -> str:
    return f"data: {json.dumps({'choices': [{'index': 0, 'delta': delta}]})}"


def test_content_and_reasoning_come_in_order_and_comments_are_passed_over() -> None:
    lines = [
        ": call_id=call_1",
        _event(role="assistant", content=""),
        "",
        _event(reasoning_content="hm, "),
        _event(content="yes"),
        'data: {"choices": [], "usage": {}}',
        "data: [DONE]",
        _event(content="never read"),
    ]
    assert list(deltas(lines)) == ["hm, ", "yes"]


def test_an_error_event_is_a_failure_in_the_control_planes_words() -> None:
    with pytest.raises(Failure, match="broke off: the engine went away"):
        list(deltas([_event(content="ye"), 'data: {"error": {"message": "the engine went away"}}']))


@pytest.mark.parametrize(
    "line",
    [
        "data: no JSON",
        "data: []",
        "data: {}",
        'data: {"choices": [{}]}',
        'data: {"choices": 3}',
        'data: {"error": 1}',
    ],
)
def test_what_is_no_chat_completion_is_a_failure(line: str) -> None:
    with pytest.raises(Failure, match="no chat completion"):
        list(deltas([line]))


def test_a_stream_without_its_end_is_a_failure() -> None:
    with pytest.raises(Failure, match="before its end"):
        list(deltas([_event(content="yes")]))
