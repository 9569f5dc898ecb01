"""What is held for a prompt covers what any tokenizer makes of it, and prompts that begin alike meet."""

import json
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from control_plane.catalogue import Counter, Tokenizers
from control_plane.catalogue.chat_template import ChatTemplate
from control_plane.economy.ring import RING_SIZE
from control_plane.gateway.counting import OwnCounting
from control_plane.gateway.request import (
    CHAT_COMPLETIONS,
    COMPLETIONS,
    EMBEDDINGS,
    InferenceRequest,
    affinity_of,
    read_request,
)
from tests.support.tokenizer_files import TEMPLATE, trained

TOKENIZER = trained(bos=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
# Control characters and quotes, which JSON writes in more bytes; emoji, which have the most bytes of all.
ODD = st.text(st.sampled_from('\0\x1f"\\\n 🌍ä漢'), max_size=60)
PARTS = st.lists(st.builds(lambda text: {"type": "text", "text": text}, TEXT | ODD), max_size=4)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant"]), "content": TEXT | ODD | PARTS}
    ),
    min_size=1,
    max_size=6,
)
COUNTING = OwnCounting(
    Tokenizers({"tiny": Counter(lambda: TOKENIZER, ChatTemplate(TEMPLATE, {"bos_token": "<|endoftext|>"}))})
)
# Generous: what the templates of known models put around a message and in front of everything.
TEMPLATE_TOKENS_PER_MESSAGE = 8
TEMPLATE_TOKENS = 64


def read(body: dict[str, Any], path: str = CHAT_COMPLETIONS, *, escaped: bool = False) -> InferenceRequest:
    raw = json.dumps(body).encode() if escaped else orjson.dumps(body)
    return read_request(path, raw)


def bytes_of(value: Any) -> int:
    """UTF-8 bytes of all texts in it: a byte-level tokenizer that has learnt nothing makes that many tokens
    of them, and none makes more."""
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, dict):
        return sum(bytes_of(each) for each in value.values())
    return sum(bytes_of(each) for each in value) if isinstance(value, list) else 0


@given(MESSAGES, st.booleans())
def test_the_bound_of_messages_is_above_what_a_tokenizer_of_bytes_makes_of_them(
    messages: list[dict[str, Any]], escaped: bool
) -> None:
    request = read({"model": "m", "messages": messages}, escaped=escaped)
    texts = sum(bytes_of(message["content"]) + len(message["role"]) for message in messages)
    worst = texts + len(messages) * TEMPLATE_TOKENS_PER_MESSAGE + TEMPLATE_TOKENS
    assert request.prompt_tokens_bound >= worst


@given(MESSAGES, st.none() | st.just([{"type": "function", "function": {"name": "f", "description": "ä"}}]))
async def test_the_bound_of_messages_is_above_what_a_real_tokenizer_counts(
    messages: list[dict[str, Any]], tools: list[Any] | None
) -> None:
    request = read({"model": "m", "messages": messages, "tools": tools})
    # Less, not equal: the bound itself is what stands for a prompt that cannot be counted.
    assert await COUNTING.prompt_tokens("tiny", request) < request.prompt_tokens_bound


@given(st.lists(TEXT | ODD, min_size=1, max_size=20))
async def test_the_bound_of_prompts_is_above_what_a_real_tokenizer_counts(prompts: list[str]) -> None:
    request = read({"model": "m", "prompt": prompts}, COMPLETIONS)
    # Less, not equal: the bound itself is what stands for a prompt that cannot be counted.
    assert await COUNTING.prompt_tokens("tiny", request) < request.prompt_tokens_bound


@given(st.lists(st.dictionaries(TEXT, TEXT | ODD, max_size=4), min_size=1, max_size=4))
def test_the_bound_has_room_for_tools_that_a_template_writes_out_anew(tools: list[dict[str, str]]) -> None:
    request = read({"model": "m", "messages": [{"role": "user", "content": "hi"}], "tools": tools})
    written = len(orjson.dumps(tools, option=orjson.OPT_INDENT_2))
    assert request.prompt_tokens_bound >= written + TEMPLATE_TOKENS


@given(st.lists(TEXT | ODD, min_size=1, max_size=20), st.sampled_from([COMPLETIONS, EMBEDDINGS]))
def test_the_bound_of_many_prompts_is_that_of_all_together(prompts: list[str], path: str) -> None:
    field = "prompt" if path == COMPLETIONS else "input"
    request = read({"model": "m", field: prompts}, path)
    # A tokenizer may put a token at both ends of each.
    assert request.prompt_tokens_bound >= bytes_of(prompts) + 2 * len(prompts)
    assert request.prompts == len(prompts)


@given(st.lists(st.integers(0, 200_000), min_size=1, max_size=200))
def test_the_bound_of_token_ids_is_above_their_number(ids: list[int]) -> None:
    for prompt in (ids, [ids, ids]):
        count = len(ids) if prompt is ids else 2 * len(ids)
        assert read({"model": "m", "prompt": prompt}, COMPLETIONS).prompt_tokens_bound >= count


@given(MESSAGES)
def test_an_affinity_is_a_place_on_the_ring_and_the_same_each_time(messages: list[dict[str, Any]]) -> None:
    request = read({"model": "m", "messages": messages})
    assert 0 <= affinity_of(request) < RING_SIZE
    again = read({"messages": messages, "model": "m", "temperature": 0.5}, escaped=True)
    assert affinity_of(again) == affinity_of(request)


def chat(*contents: Any) -> int:
    return affinity_of(
        read({"model": "m", "messages": [{"role": "user", "content": content} for content in contents]})
    )


def test_prompts_that_begin_alike_begin_at_the_same_place() -> None:
    system = "You are a helpful assistant. " * 60
    assert chat(system, "one question") == chat(system, "another")
    assert chat(system + "x") == chat(system + "y")


def test_prompts_that_differ_at_once_begin_elsewhere() -> None:
    assert len({chat(f"{number} things") for number in range(100)}) == 100
    assert chat("a", "b") != chat("ab")


def test_a_completions_prompt_has_a_place_like_a_message() -> None:
    places = {
        affinity_of(read({"model": "m", "prompt": prompt}, COMPLETIONS))
        for prompt in ("a", "b", ["a"], [1, 2], [[1, 2]])
    }
    assert len(places) == 5
    assert affinity_of(read({"model": "m", "input": "a"}, EMBEDDINGS)) in places
