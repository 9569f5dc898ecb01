"""The own count: prompts as the engine counts them, answers as the model must have written them."""

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.catalogue import ChoiceText, Counter, ToolCallText, Uncountable, counter, why_uncountable
from control_plane.catalogue.chat_template import ChatTemplate
from tests.support.tokenizer_files import TEMPLATE, trained

TOKENIZER = trained()
WITH_BOS = trained(bos=True)
COUNTER = Counter(lambda: TOKENIZER, ChatTemplate(TEMPLATE, {}), "hermes")
TOOLS = [{"type": "function", "function": {"name": "get_weather"}}]
USER = [{"role": "user", "content": "Wie geht es? 東京"}]


def _tokens(text: str) -> int:
    return len(TOKENIZER.encode(text, add_special_tokens=False).ids)


def _answer(*choices: ChoiceText, **body: Any) -> int:
    return COUNTER.completion_tokens(choices, body)


def test_a_chats_prompt_is_its_rendered_text() -> None:
    rendered = "<|im_start|>user\nWie geht es? 東京<|im_end|>\n<|im_start|>assistant\n"
    assert COUNTER.prompt_tokens({"messages": USER}) == _tokens(rendered)
    shorter = COUNTER.prompt_tokens({"messages": USER, "add_generation_prompt": False})
    assert shorter == _tokens(rendered.removesuffix("<|im_start|>assistant\n"))


def test_tools_are_part_of_the_prompt() -> None:
    tools = [{"type": "function", "function": {"name": "f", "description": "a longer description"}}]
    with_tools = COUNTER.prompt_tokens({"messages": USER, "tools": tools})
    function = '{"name": "f", "description": "a longer description", "parameters": null}'
    printed = f'{{"type": "function", "function": {function}}}'
    expected = _tokens(f"<|im_start|>system\n{printed}\n<|im_end|>\n")
    assert with_tools - COUNTER.prompt_tokens({"messages": USER}) == expected


def test_a_mark_in_a_clients_text_is_one_token_as_in_the_engine() -> None:
    said = [{"role": "user", "content": "<|im_end|>"}]
    empty = [{"role": "user", "content": ""}]
    assert COUNTER.prompt_tokens({"messages": said}) == COUNTER.prompt_tokens({"messages": empty}) + 1


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("once upon", _tokens("once upon")),
        (["once upon", "a time"], _tokens("once upon") + _tokens("a time")),
        ([5, 6, 7], 3),
        ([[5, 6], [7]], 3),
        ([], 0),
    ],
)
def test_several_prompts_are_summed(prompt: Any, expected: int) -> None:
    assert COUNTER.prompt_tokens({"prompt": prompt}) == expected
    assert COUNTER.prompt_tokens({"input": prompt}) == expected


def test_a_first_token_counts_where_the_engine_adds_one() -> None:
    counting = Counter(lambda: WITH_BOS, ChatTemplate(TEMPLATE, {}))
    plain = COUNTER.prompt_tokens({"messages": USER})
    assert counting.prompt_tokens({"messages": USER}) == plain
    assert counting.prompt_tokens({"messages": USER, "add_special_tokens": True}) == plain + 1
    assert counting.prompt_tokens({"prompt": ["a", "a"]}) == 2 * (_tokens("a") + 1)
    assert counting.prompt_tokens({"prompt": "a", "add_special_tokens": False}) == _tokens("a")
    assert counting.completion_tokens([ChoiceText("a")], {}) == _tokens("a")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, r"messages\[0\] has a part"),
        ({"messages": [{"role": "user", "content": [{}]}]}, r"messages\[0\] has a part"),
        ({"messages": USER, "chat_template": "x"}, "chat_template is set"),
        ({"messages": USER, "continue_final_message": True}, "continue_final_message is set"),
        ({"messages": USER, "chat_template_kwargs": {"tokenize": True}}, "names the template"),
        ({"prompt": "x", "truncate_prompt_tokens": 5}, "truncate_prompt_tokens is set"),
    ],
)
def test_what_cannot_be_counted_is_known_before_it_is_served(body: dict[str, Any], reason: str) -> None:
    assert re.search(reason, why_uncountable(body) or "nothing")
    with pytest.raises(Uncountable, match=reason):
        COUNTER.prompt_tokens(body)


@pytest.mark.parametrize("field", ["echo", "ignore_eos"])
def test_an_answer_that_cannot_be_counted_is_known_before_it_is_served(field: str) -> None:
    assert why_uncountable({"prompt": "x", field: True}) == f"{field} is set"
    assert COUNTER.prompt_tokens({"prompt": "x", field: True}) == _tokens("x")


@pytest.mark.parametrize("body", [{"messages": USER}, {"prompt": "x"}, {"prompt": [1], "echo": False}])
def test_text_is_countable(body: dict[str, Any]) -> None:
    assert why_uncountable(body) is None


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"content": "no role"}]},
        {"messages": [{"role": "user", "content": 5}]},
        {"messages": USER, "tools": [{}]},
        {"prompt": None},
        {"prompt": 5},
        {"prompt": [None]},
    ],
)
def test_what_an_engine_would_refuse_is_uncountable(body: dict[str, Any]) -> None:
    with pytest.raises(Uncountable):
        COUNTER.prompt_tokens(body)


def test_a_model_without_a_template_counts_no_chats() -> None:
    with pytest.raises(Uncountable, match="no chat template"):
        Counter(lambda: TOKENIZER, None).prompt_tokens({"messages": USER})


def test_a_template_that_refuses_says_why() -> None:
    refusing = ChatTemplate("{{ raise_exception('roles must alternate') }}", {})
    with pytest.raises(Uncountable, match="roles must alternate"):
        Counter(lambda: TOKENIZER, refusing).prompt_tokens({"messages": USER})


@pytest.mark.parametrize(
    ("finish_reason", "end_tokens"),
    [("stop", 1), ("tool_calls", 1), ("length", 0), (None, 0), ("abort", 0)],
)
def test_a_choice_that_ended_by_itself_has_an_end_token(finish_reason: str | None, end_tokens: int) -> None:
    choice = ChoiceText("once upon a time", finish_reason=finish_reason)
    assert _answer(choice, choice) == 2 * (_tokens("once upon a time") + end_tokens)


def test_a_stop_string_counts_where_it_was_taken_off_and_only_if_the_client_set_it() -> None:
    choice = ChoiceText("once", finish_reason="stop", stopped_by=" upon a time")
    assert _answer(choice, stop=[" upon a time", "x"]) == _tokens("once upon a time")
    assert _answer(choice, stop=" upon a time") == _tokens("once upon a time")
    assert _answer(choice, stop=["x"]) == _tokens("once") + 1
    assert _answer(choice) == _tokens("once") + 1
    shown = ChoiceText("once upon a time", finish_reason="stop", stopped_by=" upon a time")
    asked = {"stop": [" upon a time"], "include_stop_str_in_output": True}
    assert _answer(shown, **asked) == _tokens("once upon a time")


def test_reasoning_counts_with_its_marks() -> None:
    choice = ChoiceText("small card", reasoning="it rains")
    assert _answer(choice) == _tokens("it rains") + _tokens("small card") + 2


def test_a_tool_call_counts_as_it_was_written() -> None:
    arguments = '{"city": "Paris"}'
    choice = ChoiceText(tool_calls=(ToolCallText("get_weather", arguments),), finish_reason="tool_calls")
    written = f'\n<tool_call>\n{{"name": "get_weather", "arguments": {arguments}}}\n</tool_call>'
    assert _answer(choice, tools=TOOLS) == _tokens(written) + 1 + counter.TOOL_CALL_ALLOWANCE


def test_a_tool_call_where_there_were_no_tools_counts_nothing() -> None:
    assert _answer(ChoiceText("once", tool_calls=(ToolCallText("f", "{}"),) * 100)) == _tokens("once")


@pytest.mark.parametrize(
    "arguments",
    [
        '{"city": "Paris", "days": 3}',
        "{}",
        "[1]",
        "{broken",
        '{"a": "\\ud800"}',
        '{"a": ' + "[" * 2_000 + "]" * 2_000 + "}",
        '{"a": ' + "[" * 1_000 + "]" * 1_000 + "}",
        '{"a": ' + "1" * 10_000 + "}",
    ],
)
def test_a_tool_call_in_qwens_form_counts_too(arguments: str) -> None:
    qwen = Counter(lambda: TOKENIZER, None, "qwen3_coder")
    call = ChoiceText(tool_calls=(ToolCallText("get_weather", arguments),))
    assert qwen.completion_tokens([call], {"tools": TOOLS}) > _tokens("get_weather")


def test_bytes_that_are_no_character_are_a_token_each() -> None:
    assert _answer(ChoiceText("once\ufffd\ufffd upon")) == _tokens("once") + 2 + _tokens(" upon")


def test_an_empty_answer_has_no_tokens() -> None:
    assert _answer() == 0
    assert _answer(ChoiceText()) == 0


@given(st.text(max_size=200).filter(lambda text: "\ufffd" not in text))
def test_text_in_the_fewest_tokens_is_counted_exactly(text: str) -> None:
    assert _answer(ChoiceText(text, finish_reason="length")) == _tokens(text)


def test_text_beyond_the_limit_is_refused_in_a_prompt_and_not_counted_in_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(counter, "MOST_CHARACTERS", 8)
    with pytest.raises(Uncountable, match="more than 8 characters"):
        COUNTER.prompt_tokens({"prompt": "123456789"})
    long = ChoiceText("12345", finish_reason="stop")
    assert _answer(long, long, long) == _tokens("12345") + _tokens("123") + 3


def test_many_threads_count_alike() -> None:
    bodies = [
        {"messages": [{"role": "user", "content": f"{word} {word}"}]} for word in ("ein", "Tag", "Paris")
    ]
    alone = [COUNTER.prompt_tokens(body) for body in bodies]
    with ThreadPoolExecutor(8) as threads:
        for _ in range(20):
            assert list(threads.map(COUNTER.prompt_tokens, bodies)) == alone
