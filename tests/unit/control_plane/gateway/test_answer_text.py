"""The text of an answer is collected whole, from streams and bodies alike, and within bounds."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.catalogue import ChoiceText, ToolCallText
from control_plane.gateway import answer_text
from control_plane.gateway.answer_text import CollectedAnswer


def _event(*choices: dict[str, Any], **more: Any) -> bytes:
    return b"data: " + json.dumps({"id": "c", "choices": list(choices), **more}).encode() + b"\n\n"


def _delta(index: int = 0, finish_reason: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": finish_reason}


def _collected(*events: bytes, choices: int = 1) -> tuple[ChoiceText, ...]:
    answer = CollectedAnswer(choices=choices)
    for event in events:
        answer.events(event)
    return answer.choices()


def _body(*choices: dict[str, Any], most: int = 1) -> tuple[ChoiceText, ...]:
    answer = CollectedAnswer(choices=most)
    answer.whole(json.dumps({"choices": list(choices)}).encode())
    return answer.choices()


def test_a_stream_is_put_together() -> None:
    events = [
        _event(_delta(role="assistant", content="")),
        _event(_delta(content="Grüß ")),
        b": ping\n\n",
        _event(_delta(content='"Gott"\n\n')) + _event(_delta(finish_reason="stop")),
        _event(usage={"completion_tokens": 5}),
        b"data: [DONE]\n\n",
    ]
    assert _collected(*events) == (ChoiceText('Grüß "Gott"\n\n', finish_reason="stop"),)


def test_an_answer_that_stopped_half_way_has_no_end() -> None:
    assert _collected(_event(_delta(content="half"))) == (ChoiceText("half"),)
    assert _collected() == ()


def test_choices_come_in_their_order_however_they_are_mixed() -> None:
    events = [
        _event(_delta(1, content="b")),
        _event(_delta(0, content="a"), _delta(1, "length", content="b")),
    ]
    assert _collected(*events, choices=2) == (ChoiceText("a"), ChoiceText("bb", finish_reason="length"))


def test_a_completions_text_is_content() -> None:
    assert _collected(_event({"index": 0, "text": "a"}), _event({"index": 0, "text": "b"})) == (
        ChoiceText("ab"),
    )
    assert _body({"index": 0, "text": "ab", "finish_reason": "length"}) == (
        ChoiceText("ab", finish_reason="length"),
    )


@pytest.mark.parametrize(
    "names", [("reasoning",), ("reasoning_content",), ("reasoning", "reasoning_content")]
)
def test_reasoning_counts_once_under_whatever_name(names: tuple[str, ...]) -> None:
    thought = _event({"index": 0, "delta": dict.fromkeys(names, "hm ")})
    assert _collected(thought, thought, _event(_delta(content="so"))) == (
        ChoiceText("so", reasoning="hm hm "),
    )


def test_tool_calls_are_put_together_by_their_place() -> None:
    def call(index: int, **function: str) -> bytes:
        return _event(_delta(tool_calls=[{"index": index, "function": function}]))

    events = [
        call(0, name="first", arguments=""),
        call(0, arguments='{"a"'),
        call(1, name="second", arguments="{}"),
        call(0, arguments=": 1}"),
        _event(_delta(finish_reason="tool_calls")),
    ]
    calls = (ToolCallText("first", '{"a": 1}'), ToolCallText("second", "{}"))
    expected = ChoiceText(tool_calls=calls, finish_reason="tool_calls")
    assert _collected(*events) == (expected,)
    listed = [{"function": {"name": each.name, "arguments": each.arguments}} for each in calls]
    message = {"role": "assistant", "content": None, "tool_calls": listed}
    assert _body({"index": 0, "message": message, "finish_reason": "tool_calls"}) == (expected,)


def test_a_stop_string_is_told_and_a_stop_token_is_not() -> None:
    ended = {"index": 0, "text": "a", "finish_reason": "stop"}
    assert _body(ended | {"stop_reason": "END"})[0].stopped_by == "END"
    assert _body(ended | {"stop_reason": 7})[0].stopped_by is None
    assert _collected(_event(ended | {"stop_reason": "END"}))[0].stopped_by == "END"


def test_choices_that_nobody_asked_for_are_ignored() -> None:
    extra = [_delta(index, "stop", content="x") for index in (-1, 2, 10**30)]
    assert _collected(_event(_delta(content="a"), *extra), choices=2) == (ChoiceText("a"),)
    assert _collected(_event({"index": "0", "delta": {"content": "x"}}, {"delta": {"content": "x"}})) == ()


@pytest.mark.parametrize(
    "event",
    [
        b"data: {broken\n\n",
        b"data: []\n\n",
        b"data: " + b"[" * 5_000 + b"\n\n",
        b"\n\n",
        b"event: x\n\n",
        b'data: {"choices": null}\n\n',
        b'data: {"choices": [null, 5, {"index": 0, "delta": 5}, {"index": 0, "delta": {"content": 5}}]}\n\n',
        b'data: {"choices": [{"index": 0, "delta": {"tool_calls": [5, {"index": [], "function": 5}]}}]}\n\n',
        b'data: {"choices": [{"index": 0, "delta": {"tool_calls": {"0": {}}}}]}\n\n',
        b'data: {"choices": [{"index": 0, "finish_reason": 5, "delta": null}]}\n\n',
    ],
)
def test_what_is_malformed_is_left_out(event: bytes) -> None:
    (choice,) = _collected(_event(_delta(content="a")), event, _event(_delta(content="b")))
    assert choice == ChoiceText("ab")


def test_a_body_that_is_no_answer_has_no_choices() -> None:
    for body in (b"", b"null", b"{broken", b'{"choices": {}}'):
        answer = CollectedAnswer(choices=1)
        answer.whole(body)
        assert answer.choices() == ()


def test_it_can_be_asked_again_and_fed_on() -> None:
    answer = CollectedAnswer(choices=1)
    answer.events(_event(_delta(content="a")))
    assert answer.choices() == answer.choices() == (ChoiceText("a"),)
    answer.events(_event(_delta(content="b")))
    assert answer.choices() == (ChoiceText("ab"),)


def test_what_came_so_far_stays_as_it_was_while_more_comes() -> None:
    collected = CollectedAnswer(choices=1)
    collected.events(_event(_delta(content="one ")))
    so_far = collected.so_far()
    collected.events(_event(_delta(content="two")))
    assert [choice.content for choice in so_far.choices()] == ["one "]
    assert [choice.content for choice in collected.choices()] == ["one two"]


def test_of_a_long_answer_little_more_than_its_text_is_kept() -> None:
    tracemalloc.start()
    try:
        answer = CollectedAnswer(choices=1)
        for number in range(20_000):
            answer.events(_event(_delta(content="word "), usage={"completion_tokens": number}, pad="x" * 200))
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert kept < 100_000 * 2 + 2 * answer_text.MOST_UNREAD_BYTES
    assert answer.choices() == (ChoiceText("word " * 20_000),)


def test_text_beyond_the_limit_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_text, "MOST_CHARACTERS", 10)
    events = [_event(_delta(index % 2, content="1234")) for index in range(8)]
    assert sum(len(choice.content) for choice in _collected(*events, choices=2)) == 12


def test_tool_calls_beyond_the_limit_are_not_kept() -> None:
    calls = [{"index": index, "function": {"name": "f"}} for index in range(200)]
    (choice,) = _collected(_event(_delta(tool_calls=calls)))
    assert len(choice.tool_calls) == answer_text.MOST_TOOL_CALLS


@given(st.lists(st.text(max_size=20), max_size=30), st.data())
def test_how_events_arrive_makes_no_difference(texts: list[str], data: st.DataObject) -> None:
    events = [_event(_delta(content=text)) for text in texts]
    fed: list[bytes] = []
    while events:
        together = data.draw(st.integers(1, len(events)))
        fed.append(b"".join(events[:together]))
        del events[:together]
    assert "".join(choice.content for choice in _collected(*fed)) == "".join(texts)
