"""The official client's own features work through the whole path."""

import asyncio
import json
from typing import Any

import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from tests.e2e.conftest import World
from tests.support.engine_model import SERVED_NAME

QUESTION: Any = [{"role": "user", "content": "How much does a call cost?"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
# The model answers noise and would go on or stop where it likes.
EXACTLY: Any = {"ignore_eos": True}


def _exactly(text: str) -> dict[str, Any]:
    """Makes the model say this and nothing else: structured output is a feature of the engine's."""
    return {"structured_outputs": {"choice": [text]}}


def _text(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def test_the_models_are_those_that_the_tenant_can_reach_now(client: openai.OpenAI, world: World) -> None:
    assert [model.id for model in client.models.list()] == [SERVED_NAME]
    assert list(world.system.client(world.neighbour_key).models.list()) == []


def test_an_answer_comes_whole_with_where_it_was_served_and_is_on_record(
    client: openai.OpenAI, world: World
) -> None:
    response = client.chat.completions.with_raw_response.create(
        model=SERVED_NAME, messages=QUESTION, max_tokens=12, extra_body=EXACTLY
    )
    answer = response.parse()
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 12
    assert response.headers["x-daalu-tier"] == "own"
    assert response.headers["x-daalu-model"] == SERVED_NAME
    call = world.system.control.call(response.headers["x-daalu-call-id"])
    assert (call["outcome"], call["agent_name"], call["tier"]) == ("complete", "alpha", "own")
    assert (call["prompt_tokens"], call["completion_tokens"]) == (answer.usage.prompt_tokens, 12)
    assert call["duration_ms"] > 0


def test_a_stream_says_the_same_as_a_whole_answer(client: openai.OpenAI) -> None:
    options: Any = {"model": SERVED_NAME, "messages": QUESTION, "max_tokens": 24, "temperature": 0}
    whole = client.chat.completions.create(**options, extra_body=EXACTLY)
    chunks = list(client.chat.completions.create(**options, stream=True, extra_body=EXACTLY))
    assert _text(chunks) == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "length"
    assert all(chunk.usage is None for chunk in chunks), "nobody asked for usage"


def test_the_time_to_a_streams_first_token_is_on_record(client: openai.OpenAI, world: World) -> None:
    response = client.chat.completions.with_raw_response.create(
        model=SERVED_NAME, messages=QUESTION, max_tokens=20, stream=True, extra_body=EXACTLY
    )
    assert _text(list(response.parse()))
    call = world.system.control.call(response.headers["x-daalu-call-id"])
    assert 0 < call["first_token_ms"] < call["duration_ms"]


def test_usage_comes_with_a_stream_that_asked_for_it(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=SERVED_NAME,
        messages=QUESTION,
        max_tokens=7,
        stream=True,
        stream_options={"include_usage": True},
        extra_body=EXACTLY,
    )
    *content, last = list(stream)
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == 7
    assert all(chunk.usage is None for chunk in content)


def test_two_choices_come_apart_and_are_counted_together(client: openai.OpenAI, world: World) -> None:
    options: Any = {"model": SERVED_NAME, "messages": QUESTION, "max_tokens": 9, "n": 2}
    whole = client.chat.completions.with_raw_response.create(**options, extra_body=EXACTLY)
    assert [choice.index for choice in whole.parse().choices] == [0, 1]
    streamed = client.chat.completions.with_raw_response.create(**options, stream=True, extra_body=EXACTLY)
    indices = {choice.index for chunk in streamed.parse() for choice in chunk.choices}
    assert indices == {0, 1}
    for response in (whole, streamed):
        assert world.system.control.call(response.headers["x-daalu-call-id"])["completion_tokens"] == 18


def test_a_stop_text_ends_the_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=SERVED_NAME,
        messages=QUESTION,
        max_tokens=100,
        stop=[" beta"],
        extra_body=_exactly("alpha beta gamma"),
    )
    assert answer.choices[0].message.content == "alpha"
    assert answer.choices[0].finish_reason == "stop"


def test_a_seed_repeats_an_answer(client: openai.OpenAI) -> None:
    def answer(seed: int) -> str | None:
        completion = client.chat.completions.create(
            model=SERVED_NAME, messages=QUESTION, max_tokens=24, temperature=1, seed=seed, extra_body=EXACTLY
        )
        return completion.choices[0].message.content

    assert answer(7) == answer(7)
    assert answer(7) != answer(8)


def test_logprobs_come_for_each_token(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(
        model=SERVED_NAME, messages=QUESTION, max_tokens=5, logprobs=True, top_logprobs=3, extra_body=EXACTLY
    )
    logprobs = completion.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert [len(token.top_logprobs) for token in logprobs.content] == [3] * 5


@pytest.mark.parametrize("streamed", [False, True])
def test_a_named_tool_is_called(client: openai.OpenAI, *, streamed: bool) -> None:
    options: Any = {
        "model": SERVED_NAME,
        "messages": QUESTION,
        # Noise may put much white space between what the schema asks for.
        "max_tokens": 2000,
        "tools": [WEATHER],
        "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
    }
    if streamed:
        calls = [
            call
            for chunk in client.chat.completions.create(**options, stream=True)
            for choice in chunk.choices
            for call in choice.delta.tool_calls or []
        ]
        names = [call.function.name for call in calls if call.function and call.function.name]
        text = "".join(call.function.arguments or "" for call in calls if call.function)
    else:
        tool_calls = client.chat.completions.create(**options).choices[0].message.tool_calls
        assert tool_calls is not None
        names = [call.function.name for call in tool_calls if call.type == "function"]
        text = "".join(call.function.arguments for call in tool_calls if call.type == "function")
    assert names == ["get_weather"]
    assert json.loads(text)["city"] in ("Paris", "Rome")


def test_a_prompt_of_4000_tokens_fits(client: openai.OpenAI) -> None:
    words = "fox " * 4000
    completion = client.chat.completions.create(
        model=SERVED_NAME, messages=[{"role": "user", "content": words}], max_tokens=3, extra_body=EXACTLY
    )
    assert completion.usage is not None
    assert completion.usage.prompt_tokens >= 4000
    assert completion.usage.completion_tokens == 3


def test_16_streams_at_once_all_complete(world: World) -> None:
    async def one(client: openai.AsyncOpenAI, number: int) -> int:
        stream = await client.chat.completions.create(
            model=SERVED_NAME,
            messages=[{"role": "user", "content": f"Call {number}"}],
            max_tokens=50 + number,
            stream=True,
            stream_options={"include_usage": True},
            extra_body=EXACTLY,
        )
        usage = [chunk.usage async for chunk in stream if chunk.usage is not None]
        assert len(usage) == 1
        return usage[0].completion_tokens

    async def all_of_them() -> list[int]:
        async with openai.AsyncOpenAI(
            api_key=world.owner_key,
            base_url=f"{world.system.control.url}/v1",
            http_client=httpx2.AsyncClient(verify=world.system.control.tls()),
            max_retries=0,
        ) as client:
            return await asyncio.gather(*(one(client, number) for number in range(16)))

    with world.system.network.client.entered():
        assert asyncio.run(all_of_them()) == [50 + number for number in range(16)]


def test_characters_that_are_split_across_chunks_arrive_whole(client: openai.OpenAI) -> None:
    """The tokenizer knows single bytes: a character that it never learnt spans up to four tokens."""
    text = "🎉 żółw 🧑‍🚀 漢字 ﷽ é"
    chunks = list(
        client.chat.completions.create(
            model=SERVED_NAME, messages=QUESTION, max_tokens=200, stream=True, extra_body=_exactly(text)
        )
    )
    assert _text(chunks) == text
    assert len(chunks) > 10, "the text came in pieces"
