"""Anthropic's official client asks for messages: what it gets, and what the engine gets."""

import json
from typing import Any

import anthropic
import httpx2
import pytest

from control_plane.store import Store
from tests.support.gateway import KEY, agent_view, serving
from tests.support.gateway_engine import PROMPT_TOKENS, Exchange, scripted_engine, well_behaved
from tests.support.surfaces import CALLED, anthropic_client, breaks_off, ending, reasoning, tool_calls

ASK: Any = {"model": "tiny", "max_tokens": 20, "messages": [{"role": "user", "content": "hi"}]}
WEATHER: Any = {
    "name": "get_weather",
    "description": "Weather now",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
PICTURE: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0K"}}


async def test_a_message_is_a_chat_answer_in_its_own_shape_and_on_record(sqlite_store: Store) -> None:
    async with (
        scripted_engine() as engine,
        serving(sqlite_store, agent_view("one", engine.port)) as front,
        anthropic_client(front) as ai,
    ):
        raw = await ai.messages.with_raw_response.create(
            **ASK,
            system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
            metadata={"user_id": "eve"},
            stop_sequences=["\n\nEnd"],
            extra_body={"top_k": 7, "temperature": 0.5},
        )
        message = await raw.parse()
        assert (message.type, message.role, message.model) == ("message", "assistant", "tiny")
        assert [block.text for block in message.content if block.type == "text"] == ["Hello"]
        assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
        assert (message.usage.input_tokens, message.usage.output_tokens) == (PROMPT_TOKENS, 5)
        sent = engine.received[0].json
        assert engine.received[0].path == "/v1/chat/completions"
        assert sent["messages"] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hi"},
        ]
        assert (sent["max_tokens"], sent["stop"], sent["top_k"], sent["temperature"]) == (
            20, ["\n\nEnd"], 7, 0.5,
        )  # fmt: skip
        assert "eve" not in engine.received[0].body.decode()
        call = await front.only_call()
        assert (call.path, call.outcome, call.completion_tokens) == ("/v1/messages", "complete", 5)
        assert raw.headers["x-daalu-call-id"] == call.id


async def test_a_stream_has_every_event_in_order_and_tells_what_was_used(sqlite_store: Store) -> None:
    async with (
        scripted_engine() as engine,
        serving(sqlite_store, agent_view("one", engine.port)) as front,
        anthropic_client(front) as ai,
    ):
        events = [event async for event in await ai.messages.create(**ASK, stream=True)]
        assert [event.type for event in events] == [
            "message_start",
            "content_block_start",
            *["content_block_delta"] * 3,
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
        start, end = events[0], events[-2]
        assert start.type == "message_start"
        assert start.message.usage.input_tokens == PROMPT_TOKENS
        assert end.type == "message_delta"
        assert (end.delta.stop_reason, end.usage.output_tokens) == ("end_turn", 4)
        async with ai.messages.stream(**ASK) as stream:
            assert await stream.get_final_text() == "Hello wörld 🌍"


@pytest.mark.parametrize("streamed", [False, True])
async def test_tools_are_called_and_their_results_taken(sqlite_store: Store, streamed: bool) -> None:
    async with (
        scripted_engine(tool_calls) as engine,
        serving(sqlite_store, agent_view("one", engine.port)) as front,
        anthropic_client(front) as ai,
    ):
        given = {**ASK, "tools": [WEATHER], "tool_choice": {"type": "any", "disable_parallel_tool_use": True}}
        if streamed:
            async with ai.messages.stream(**given) as stream:
                message: Any = await stream.get_final_message()
        else:
            message = await ai.messages.create(**given)
        said, *calls = message.content
        assert (said.type, said.text, message.stop_reason) == ("text", "Let me see.", "tool_use")
        assert [(each.id, each.name, each.input) for each in calls] == CALLED
        results = [
            {"type": "tool_result", "tool_use_id": "call-1", "content": "Rain."},
            {"type": "tool_result", "tool_use_id": "call-2", "content": [{"type": "text", "text": "Noon."}]},
            {"type": "text", "text": "So?"},
        ]
        turn = [*ASK["messages"], {"role": "assistant", "content": message.content}]
        turn.append({"role": "user", "content": results})
        await ai.messages.create(**{**given, "messages": turn})
        first, second = (exchange.json for exchange in engine.received)
        function = {
            "name": "get_weather",
            "description": "Weather now",
            "parameters": WEATHER["input_schema"],
        }
        assert first["tools"] == [{"type": "function", "function": function}]
        assert (first["tool_choice"], first["parallel_tool_calls"]) == ("required", False)
        _, assistant, *rest = second["messages"]
        assert assistant["content"] == "Let me see."
        assert [json.loads(each["function"]["arguments"]) for each in assistant["tool_calls"]] == [
            {"city": "Paris"},
            {"zone": "UTC"},
        ]
        assert rest == [
            {"role": "tool", "tool_call_id": "call-1", "content": "Rain."},
            {"role": "tool", "tool_call_id": "call-2", "content": "Noon."},
            {"role": "user", "content": "So?"},
        ]


@pytest.mark.parametrize("streamed", [False, True])
async def test_reasoning_is_shown_to_who_asks_for_thinking_and_to_nobody_else(
    sqlite_store: Store, streamed: bool
) -> None:
    async with (
        scripted_engine(otherwise=reasoning) as engine,
        serving(sqlite_store, agent_view("one", engine.port)) as front,
        anthropic_client(front) as ai,
    ):
        for thinking, wanted in (
            ({"type": "adaptive"}, ["thinking", "text"]),
            ({"type": "disabled"}, ["text"]),
        ):
            given = {**ASK, "thinking": thinking}
            if streamed:
                async with ai.messages.stream(**given) as stream:
                    message: Any = await stream.get_final_message()
            else:
                message = await ai.messages.create(**given)
            assert [block.type for block in message.content] == wanted
            assert message.content[-1].text == "Four."
            assert wanted == ["text"] or message.content[0].thinking == "Two and two."


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("finish", "stop", "reason", "sequence"),
    [
        ("length", None, "max_tokens", None),
        ("stop", "End", "stop_sequence", "End"),
        ("stop", 7, "end_turn", None),
        ("stop", "</s>", "end_turn", None),
        ("content_filter", None, "refusal", None),
    ],
)
async def test_a_message_says_why_it_stopped(
    sqlite_store: Store, streamed: bool, finish: str, stop: Any, reason: str, sequence: str | None
) -> None:
    async with (
        scripted_engine(ending(finish, stop)) as engine,
        serving(sqlite_store, agent_view("one", engine.port)) as front,
        anthropic_client(front) as ai,
    ):
        given = {**ASK, "stop_sequences": ["Stop", "End"]}
        if streamed:
            async with ai.messages.stream(**given) as stream:
                message: Any = await stream.get_final_message()
        else:
            message = await ai.messages.create(**given)
        assert (message.stop_reason, message.stop_sequence) == (reason, sequence)
        assert message.content[0].text == "cut"


async def test_a_begun_answer_is_gone_on_with(sqlite_store: Store) -> None:
    async with (
        scripted_engine() as engine,
        serving(sqlite_store, agent_view("one", engine.port)) as front,
        anthropic_client(front) as ai,
    ):
        turn: Any = [*ASK["messages"], {"role": "assistant", "content": "Hello and"}]
        await ai.messages.create(**{**ASK, "messages": turn})
        sent = engine.received[0].json
        assert sent["messages"][-1] == {"role": "assistant", "content": "Hello and"}
        assert (sent["add_generation_prompt"], sent["continue_final_message"]) == (False, True)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"model": "gpt"}, anthropic.NotFoundError, "the model 'gpt' does not exist"),
        ({"max_tokens": 0}, anthropic.BadRequestError, "'max_tokens' must be"),
        ({"max_tokens": 9_000}, anthropic.BadRequestError, "does not fit any context"),
        ({"messages": []}, anthropic.BadRequestError, "'messages' must be"),
        (
            {"messages": [{"role": "user", "content": [PICTURE]}]},
            anthropic.ServiceUnavailableError,
            "tiny takes text only",
        ),
        ({"container": "c"}, anthropic.BadRequestError, "'container' is not served on /v1/messages"),
    ],
)
async def test_errors_are_those_of_anthropics_client(
    sqlite_store: Store, change: dict[str, Any], error: type[anthropic.APIStatusError], words: str
) -> None:
    async with serving(sqlite_store, agent_view("one")) as front, anthropic_client(front) as ai:
        with pytest.raises(error, match=words) as raised:
            await ai.messages.create(**{**ASK, **change})
        body: Any = raised.value.body
        assert body["type"] == "error"
        assert set(body["error"]) == {"type", "message", "code"}


async def test_keys_come_in_either_header_and_a_wrong_one_is_an_authentication_error(
    sqlite_store: Store,
) -> None:
    async with scripted_engine() as engine, serving(sqlite_store, agent_view("one", engine.port)) as front:
        async with anthropic.AsyncAnthropic(base_url=front.url, auth_token=KEY, max_retries=0) as bearer:
            assert (await bearer.messages.create(**ASK)).content[0].type == "text"
        async with anthropic_client(front, "wrong") as ai:
            with pytest.raises(anthropic.AuthenticationError) as refused:
                await ai.messages.create(**ASK)
        assert refused.value.type == "authentication_error"
        async with httpx2.AsyncClient() as http:
            both = {"x-api-key": KEY, "authorization": "Bearer wrong"}
            assert (await http.post(f"{front.url}/v1/messages", json=ASK, headers=both)).status_code == 401
            none = await http.post(f"{front.url}/v1/messages", json=ASK)
            assert "x-api-key" in none.json()["error"]["message"]
            wrong = await http.get(f"{front.url}/v1/messages")
            assert (wrong.status_code, wrong.json()["error"]["type"]) == (405, "invalid_request_error")
            models = await http.get(f"{front.url}/v1/models", headers={"x-api-key": KEY})
            assert models.status_code == 200


async def test_tokens_are_not_counted_ahead_of_a_call(sqlite_store: Store) -> None:
    async with serving(sqlite_store, agent_view("one")) as front, anthropic_client(front) as ai:
        with pytest.raises(anthropic.NotFoundError, match="no tokens are counted ahead"):
            await ai.messages.count_tokens(model="tiny", messages=ASK["messages"])


async def test_a_stream_that_breaks_off_raises_the_clients_own_error(sqlite_store: Store) -> None:
    async with (
        scripted_engine(breaks_off) as engine,
        serving(sqlite_store, agent_view("one", engine.port)) as front,
        anthropic_client(front) as ai,
    ):

        async def read() -> None:
            async for _ in await ai.messages.create(**ASK, stream=True):
                pass

        with pytest.raises(anthropic.APIStatusError, match="the answer broke off") as broken_off:
            await read()
        assert broken_off.value.type == "api_error"
        call = await front.only_call()
        assert (call.outcome, call.error_code, call.completion_tokens) == ("failed", "stream_broken", 1)


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_engines_refusal_is_a_bad_request(sqlite_store: Store, streamed: bool) -> None:
    async def refuse(exchange: Exchange) -> None:
        error = {"message": "the template takes no tools", "type": "BadRequestError", "code": 400}
        await exchange.send_json({"error": error}, 400)

    async with (
        scripted_engine(refuse, otherwise=well_behaved) as engine,
        serving(sqlite_store, agent_view("one", engine.port)) as front,
        anthropic_client(front) as ai,
    ):
        with pytest.raises(anthropic.BadRequestError, match="the template takes no tools"):
            await ai.messages.create(**ASK, stream=streamed)
