"""The official clients of the other surfaces, through the whole path to a real engine."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from pydantic import BaseModel

from tests.e2e.conftest import World
from tests.support.engine_model import SERVED_NAME

QUESTION = "How much does a call cost?"
ASK: Any = {
    "model": SERVED_NAME,
    "max_tokens": 12,
    "messages": [{"role": "user", "content": QUESTION}],
}
# The model answers noise and would go on or stop where it likes.
EXACTLY: Any = {"ignore_eos": True, "top_k": 1}
PARAMETERS: Any = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}


@pytest.fixture
def messages(world: World) -> Iterator[anthropic.Anthropic]:
    """The owner's, in the client's host."""
    control = world.system.control
    with (
        world.system.network.client.entered(),
        anthropic.Anthropic(
            api_key=world.owner_key,
            base_url=control.url,
            http_client=httpx2.Client(verify=control.tls()),
            max_retries=0,
        ) as client,
    ):
        yield client


def test_a_response_says_the_same_whole_and_streamed(client: openai.OpenAI, world: World) -> None:
    given: Any = {"model": SERVED_NAME, "input": QUESTION, "max_output_tokens": 12, "extra_body": EXACTLY}
    raw = client.responses.with_raw_response.create(**given)
    whole = raw.parse()
    assert whole.usage is not None
    assert (whole.status, whole.usage.output_tokens) == ("incomplete", 12)
    *_, last = client.responses.create(**given, stream=True)
    assert last.type == "response.incomplete"
    assert last.response.output_text == whole.output_text
    assert last.response.usage == whole.usage
    call = world.system.control.call(raw.headers["x-daalu-call-id"])
    assert (call["outcome"], call["tier"], call["path"]) == ("complete", "own", "/v1/responses")
    assert (call["prompt_tokens"], call["completion_tokens"]) == (whole.usage.input_tokens, 12)


class Weather(BaseModel):
    rain: bool


def test_a_response_keeps_to_a_schema(client: openai.OpenAI) -> None:
    response = client.responses.parse(
        model=SERVED_NAME, input=QUESTION, max_output_tokens=2000, text_format=Weather
    )
    assert isinstance(response.output_parsed, Weather)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_response_calls_a_named_function(client: openai.OpenAI, *, streamed: bool) -> None:
    given: Any = {
        "model": SERVED_NAME,
        "input": QUESTION,
        # Noise may put much white space between what the schema asks for.
        "max_output_tokens": 2000,
        "tools": [{"type": "function", "name": "get_weather", "parameters": PARAMETERS, "strict": True}],
        "tool_choice": {"type": "function", "name": "get_weather"},
    }
    if streamed:
        with client.responses.stream(**given) as stream:
            response: Any = stream.get_final_response()
    else:
        response = client.responses.create(**given)
    [call] = [item for item in response.output if item.type == "function_call"]
    assert call.name == "get_weather"
    assert json.loads(call.arguments)["city"] in ("Paris", "Rome")
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "Rain."}
    turn: Any = [{"role": "user", "content": QUESTION}, *response.output, result]
    after = client.responses.create(
        model=SERVED_NAME, input=turn, max_output_tokens=3, extra_body=EXACTLY, tools=given["tools"]
    )
    assert after.usage is not None
    assert after.usage.output_tokens == 3


def test_a_message_says_the_same_whole_and_streamed(messages: anthropic.Anthropic, world: World) -> None:
    raw = messages.messages.with_raw_response.create(**ASK, extra_body=EXACTLY)
    whole = raw.parse()
    assert (whole.stop_reason, whole.usage.output_tokens) == ("max_tokens", 12)
    with messages.messages.stream(**ASK, extra_body=EXACTLY) as stream:
        streamed = stream.get_final_message()
    assert [block.text for block in streamed.content if block.type == "text"] == [
        block.text for block in whole.content if block.type == "text"
    ]
    assert streamed.usage.output_tokens == 12
    assert streamed.usage.input_tokens == whole.usage.input_tokens
    call = world.system.control.call(raw.headers["x-daalu-call-id"])
    assert (call["outcome"], call["tier"], call["path"]) == ("complete", "own", "/v1/messages")


@pytest.mark.parametrize("streamed", [False, True])
def test_a_stop_sequence_ends_a_message_and_is_named(
    messages: anthropic.Anthropic, *, streamed: bool
) -> None:
    exactly = {"structured_outputs": {"choice": ["alpha beta gamma"]}}
    given: Any = {**ASK, "max_tokens": 100, "stop_sequences": [" beta"], "extra_body": exactly}
    if streamed:
        with messages.messages.stream(**given) as stream:
            message: Any = stream.get_final_message()
    else:
        message = messages.messages.create(**given)
    assert [block.text for block in message.content] == ["alpha"]
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", " beta")


@pytest.mark.parametrize("streamed", [False, True])
def test_a_message_uses_a_named_tool(messages: anthropic.Anthropic, *, streamed: bool) -> None:
    given: Any = {
        **ASK,
        "max_tokens": 2000,
        "tools": [{"name": "get_weather", "input_schema": PARAMETERS, "strict": True}],
        "tool_choice": {"type": "tool", "name": "get_weather"},
    }
    if streamed:
        with messages.messages.stream(**given) as stream:
            message: Any = stream.get_final_message()
    else:
        message = messages.messages.create(**given)
    assert message.stop_reason == "tool_use"
    [used] = [block for block in message.content if block.type == "tool_use"]
    assert used.name == "get_weather"
    assert used.input["city"] in ("Paris", "Rome")
    result = {"type": "tool_result", "tool_use_id": used.id, "content": "Rain."}
    turn: Any = [
        *ASK["messages"],
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": [result]},
    ]
    after = messages.messages.create(
        **{**ASK, "messages": turn, "max_tokens": 3, "tools": given["tools"]}, extra_body=EXACTLY
    )
    assert after.usage.output_tokens == 3


def test_an_answer_that_the_client_began_is_gone_on_with(messages: anthropic.Anthropic) -> None:
    turn: Any = [*ASK["messages"], {"role": "assistant", "content": "A call costs"}]
    begun = messages.messages.create(**{**ASK, "messages": turn}, extra_body=EXACTLY)
    unbegun = messages.messages.create(**ASK, extra_body=EXACTLY)
    assert begun.usage.input_tokens != unbegun.usage.input_tokens
    assert begun.content[0].type == "text"


def test_an_engines_refusal_is_told_in_the_surfaces_shape(messages: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError) as refused:
        messages.messages.create(**ASK, extra_body={"temperature": -1})
    body: Any = refused.value.body
    assert (body["type"], body["error"]["type"]) == ("error", "invalid_request_error")
    assert "temperature" in body["error"]["message"]
