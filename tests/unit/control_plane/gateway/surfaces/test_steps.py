from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.gateway.reading import AnswerBroken
from control_plane.gateway.surfaces.steps import AnswerSteps, Closed, Grew, Kind, Opened, Step, Usage

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
ARGUMENTS = ['{"city":"Paris"}', "{}", '{"a":[1,{"b":"}"}]}']


def delta(finish: str | None = None, **said: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": said, "finish_reason": finish}]}


def call(index: int, arguments: str, name: str | None = None) -> dict[str, Any]:
    first = {"id": f"call-{index}"} if name else {}
    return delta(tool_calls=[{"index": index, **first, "function": {"name": name, "arguments": arguments}}])


def taken(*chunks: dict[str, Any]) -> list[Step]:
    steps = AnswerSteps()
    return [step for chunk in chunks for step in steps.chunk(chunk)] + steps.end()


def assert_in_order(steps: list[Step]) -> list[tuple[Opened, str]]:
    """Every part is opened, grows to what it closes with, and is closed before the next one. The parts."""
    parts: list[tuple[Opened, str]] = []
    grown: str | None = None
    for step in steps:
        if isinstance(step, Opened):
            assert grown is None, "one part is open at a time"
            grown = ""
            parts.append((step, ""))
            continue
        assert grown is not None
        if isinstance(step, Grew):
            grown += step.text
            continue
        assert step.text == grown
        parts[-1] = (parts[-1][0], grown)
        grown = None
    assert grown is None
    lasts = [step.last for step in steps if isinstance(step, Closed)]
    assert lasts == [False] * (len(lasts) - 1) + [True] * bool(lasts)
    return parts


@given(st.lists(st.tuples(st.sampled_from(["content", "reasoning", "refusal"]), TEXTS), max_size=20))
def test_texts_come_out_as_they_went_in_whatever_their_kinds(pieces: list[tuple[str, str]]) -> None:
    parts = assert_in_order(taken(*(delta(**{kind: text}) for kind, text in pieces), delta("stop")))
    for name, kind in (("content", Kind.TEXT), ("reasoning", Kind.REASONING), ("refusal", Kind.REFUSAL)):
        wanted = "".join(text for each, text in pieces if each == name)
        assert "".join(text for opened, text in parts if opened.kind is kind) == wanted
    assert all(before[0].kind is not after[0].kind for before, after in pairwise(parts))


@given(st.data())
def test_calls_come_out_whole_and_one_by_one_however_they_are_interleaved(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 4))
    wanted = [data.draw(st.sampled_from(ARGUMENTS)) for _ in range(count)]
    left = {index: list(arguments) for index, arguments in enumerate(wanted)}
    chunks = []
    begun: set[int] = set()
    while left:
        # A call begins after those before it have begun, as engines number them.
        index = data.draw(st.sampled_from([each for each in left if each <= len(begun)]))
        size = data.draw(st.integers(1, len(left[index])))
        piece = "".join(left[index][:size])
        chunks.append(call(index, piece, None if index in begun else f"tool-{index}"))
        begun.add(index)
        del left[index][:size]
        if not left[index]:
            del left[index]
    parts = assert_in_order(taken(*chunks, delta("tool_calls")))
    assert [(opened.call_id, opened.name, text) for opened, text in parts] == [
        (f"call-{index}", f"tool-{index}", arguments) for index, arguments in enumerate(wanted)
    ]


def test_a_call_is_closed_as_soon_as_the_next_one_begins() -> None:
    steps = AnswerSteps()
    steps.chunk(call(0, "{}", "first"))
    assert steps.chunk(call(1, "{", "second")) == [
        Closed("{}", last=False),
        Opened(Kind.CALL, "call-1", "second"),
        Grew("{"),
    ]


def test_what_follows_an_unfinished_call_waits_for_its_end() -> None:
    steps = AnswerSteps()
    steps.chunk(call(0, '{"a":', "first"))
    assert steps.chunk(delta(content="then")) == []
    assert [type(step) for step in steps.chunk(call(0, "1}"))] == [Grew, Closed, Opened, Grew]


def test_a_call_that_goes_on_after_its_end_is_an_error_unless_it_says_nothing() -> None:
    steps = AnswerSteps()
    steps.chunk(call(0, "{}", "first"))
    steps.chunk(call(1, "{}", "second"))
    assert steps.chunk(call(0, "\n")) == []
    with pytest.raises(AnswerBroken, match="went on"):
        steps.chunk(call(0, "{}"))


def test_arguments_are_whole_as_an_object_only() -> None:
    steps = AnswerSteps()
    steps.chunk(call(0, "1", "first"))
    assert steps.chunk(call(1, "{}", "second")) == []
    assert steps.chunk(call(0, "2")) == [Grew("2")]


def test_a_whole_answer_gives_the_steps_of_its_parts() -> None:
    steps = AnswerSteps()
    message = {
        "reasoning_content": "hm",
        "content": "yes",
        "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}],
    }
    value = {
        "id": "chatcmpl-9",
        "created": 5,
        "model": "m",
        "choices": [{"message": message, "finish_reason": "tool_calls"}],
        "usage": {
            "prompt_tokens": 7,
            "completion_tokens": 3,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
    }
    parts = assert_in_order(steps.whole(value))
    assert [(opened.kind, text) for opened, text in parts] == [
        (Kind.REASONING, "hm"),
        (Kind.TEXT, "yes"),
        (Kind.CALL, "{}"),
    ]
    assert (steps.id, steps.created, steps.model, steps.finish) == ("9", 5, "m", "tool_calls")
    assert steps.usage == Usage(7, 3, 4, 1)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"choices": None},
        {"choices": [None]},
        {"choices": [{"delta": 5}]},
        {"choices": [{"delta": {"content": 5, "tool_calls": "no"}}], "usage": [], "id": None},
        {"choices": [{"delta": {"content": None, "tool_calls": []}}], "usage": {"prompt_tokens": None}},
    ],
)
def test_what_says_nothing_gives_no_steps(value: dict[str, Any]) -> None:
    assert taken(value) == []
