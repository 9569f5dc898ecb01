"""OpenAI's official client asks for responses: what it gets, and what the engine gets."""

import json
from typing import Any

import httpx2
import openai
import pytest
from pydantic import BaseModel

from control_plane.store import Store
from tests.support.gateway import KEY, agent_view, serving
from tests.support.gateway_engine import PROMPT_TOKENS, Exchange, answer, scripted_engine
from tests.support.surfaces import CALLED, breaks_off, ending, openai_client, reasoning, tool_calls

WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "Weather now",
    "strict": True,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


async def test_a_response_is_a_chat_answer_in_its_own_shape_and_on_record(sqlite_store: Store) -> None:
    async with (
        scripted_engine() as engine,
        serving(sqlite_store, agent_view("one", engine.port)) as front,
        openai_client(front) as ai,
    ):
        raw = await ai.responses.with_raw_response.create(
            model="tiny", input="hi", instructions="Be brief.", max_output_tokens=20, metadata={"team": "a"}
        )
        response = raw.parse()
        assert (response.status, response.output_text) == ("completed", "Hello")
        assert response.metadata == {"team": "a"}
        assert json.loads(raw.content)["store"] is False
        assert response.usage is not None
        assert (response.usage.input_tokens, response.usage.output_tokens) == (PROMPT_TOKENS, 5)
        sent = engine.received[0].json
        assert engine.received[0].path == "/v1/chat/completions"
        assert sent["messages"] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hi"},
        ]
        assert (sent["max_tokens"], sent["model"]) == (20, "tiny")
        assert "metadata" not in sent
        call = await front.only_call()
        assert (call.path, call.outcome, call.completion_tokens) == ("/v1/responses", "complete", 5)
        assert raw.headers["x-daalu-call-id"] == call.id
        assert (raw.headers["x-daalu-tier"], raw.headers["x-daalu-model"]) == ("own", "tiny")


async def test_a_stream_has_every_event_in_order_and_ends_with_the_whole_response(
    sqlite_store: Store,
) -> None:
    async with (
        scripted_engine() as engine,
        serving(sqlite_store, agent_view("one", engine.port)) as front,
        openai_client(front) as ai,
    ):
        events = [event async for event in await ai.responses.create(model="tiny", input="hi", stream=True)]
        assert [event.type for event in events] == [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            *["response.output_text.delta"] * 3,
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
        assert [event.sequence_number for event in events] == list(range(len(events)))
        last = events[-1]
        assert last.type == "response.completed"
        assert last.response.output_text == "Hello wörld 🌍"
        assert last.response.usage is not None
        assert last.response.usage.output_tokens == 4
        assert (await front.only_call()).completion_tokens == 4


async def test_the_clients_stream_helper_builds_the_same_response(sqlite_store: Store) -> None:
    async with (
        scripted_engine(reasoning, reasoning) as engine,
        serving(sqlite_store, agent_view("one", engine.port)) as front,
        openai_client(front) as ai,
    ):
        whole = await ai.responses.create(model="tiny", input="2+2?", reasoning={"effort": "low"})
        async with ai.responses.stream(model="tiny", input="2+2?", reasoning={"effort": "low"}) as stream:
            streamed = await stream.get_final_response()
        for response in (whole, streamed):
            thought, said = response.output
            assert thought.type == "reasoning"
            assert thought.content is not None
            assert thought.content[0].text == "Two and two."
            assert said.type == "message"
            assert response.output_text == "Four."
        assert engine.received[0].json["reasoning_effort"] == "low"


@pytest.mark.parametrize("streamed", [False, True])
async def test_tools_are_called_and_their_results_taken(sqlite_store: Store, streamed: bool) -> None:
    async with (
        scripted_engine(tool_calls) as engine,
        serving(sqlite_store, agent_view("one", engine.port)) as front,
        openai_client(front) as ai,
    ):
        given: Any = {"model": "tiny", "tools": [WEATHER], "tool_choice": "auto"}
        if streamed:
            async with ai.responses.stream(input="Weather?", **given) as stream:
                deltas = [
                    event.delta
                    async for event in stream
                    if event.type == "response.function_call_arguments.delta"
                ]
                response: Any = await stream.get_final_response()
            assert deltas == ['{"city":"Pa', 'ris"}', '{"zone":', '"UTC"}']
        else:
            response = await ai.responses.create(input="Weather?", **given)
        said, *calls = response.output
        assert said.content[0].text == "Let me see."
        assert [(each.call_id, each.name, json.loads(each.arguments)) for each in calls] == CALLED
        results = [
            {"type": "function_call_output", "call_id": each.call_id, "output": f"of {each.name}"}
            for each in calls
        ]
        turn: Any = [{"role": "user", "content": "Weather?"}, *response.output, *results]
        assert (await ai.responses.create(input=turn, **given)).output_text == "Hello"
        first, second = (exchange.json for exchange in engine.received)
        parameters = {key: WEATHER[key] for key in ("name", "description", "strict", "parameters")}
        assert first["tools"] == [{"type": "function", "function": parameters}]
        asked, assistant, *outputs = second["messages"]
        assert asked == {"role": "user", "content": "Weather?"}
        assert assistant["content"] == "Let me see."
        assert [each["function"]["name"] for each in assistant["tool_calls"]] == ["get_weather", "get_time"]
        assert outputs == [
            {"role": "tool", "tool_call_id": "call-1", "content": "of get_weather"},
            {"role": "tool", "tool_call_id": "call-2", "content": "of get_time"},
        ]


class City(BaseModel):
    name: str
    people: int


async def test_structured_output_is_asked_for_and_parsed(sqlite_store: Store) -> None:
    async def city(exchange: Exchange) -> None:
        await exchange.send_json(answer('{"name": "Lyon", "people": 520000}'))

    async with (
        scripted_engine(city) as engine,
        serving(sqlite_store, agent_view("one", engine.port)) as front,
        openai_client(front) as ai,
    ):
        response = await ai.responses.parse(model="tiny", input="A city", text_format=City)
        assert response.output_parsed == City(name="Lyon", people=520000)
        form = engine.received[0].json["response_format"]
        assert (form["type"], form["json_schema"]["name"]) == ("json_schema", "City")
        assert form["json_schema"]["schema"]["required"] == ["name", "people"]


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_that_ran_into_its_limit_is_incomplete(sqlite_store: Store, streamed: bool) -> None:
    async with (
        scripted_engine(ending("length")) as engine,
        serving(sqlite_store, agent_view("one", engine.port)) as front,
        openai_client(front) as ai,
    ):
        if streamed:
            stream = await ai.responses.create(model="tiny", input="hi", max_output_tokens=2, stream=True)
            events = [event async for event in stream]
            assert events[-1].type == "response.incomplete"
            response = events[-1].response
        else:
            response = await ai.responses.create(model="tiny", input="hi", max_output_tokens=2)
        assert (response.status, response.output_text) == ("incomplete", "cut")
        assert response.incomplete_details is not None
        assert response.incomplete_details.reason == "max_output_tokens"
        assert response.output[0].type == "message"
        assert response.output[0].status == "incomplete"


async def test_what_needs_stored_answers_is_refused_and_there_are_none_to_get(sqlite_store: Store) -> None:
    async with serving(sqlite_store, agent_view("one")) as front, openai_client(front) as ai:
        stored: list[dict[str, Any]] = [{"background": True}, {"previous_response_id": "resp_1"}]
        for fields in stored:
            with pytest.raises(openai.BadRequestError, match="none are stored here") as refused:
                await ai.responses.create(model="tiny", input="hi", **fields)
            assert (refused.value.param, refused.value.code) == (next(iter(fields)), "unsupported_parameter")
        with pytest.raises(openai.NotFoundError, match="no response is stored here"):
            await ai.responses.retrieve("resp_1")
        with pytest.raises(openai.NotFoundError, match="no response is stored here"):
            await ai.responses.cancel("resp_1")
        with pytest.raises(openai.AuthenticationError):
            await ai.with_options(api_key="wrong").responses.create(model="tiny", input="hi")
        with pytest.raises(openai.NotFoundError, match="the model 'gpt' does not exist"):
            await ai.responses.create(model="gpt", input="hi")


async def test_a_stream_that_breaks_off_raises_the_clients_own_error(sqlite_store: Store) -> None:
    async with (
        scripted_engine(breaks_off) as engine,
        serving(sqlite_store, agent_view("one", engine.port)) as front,
        openai_client(front) as ai,
    ):
        seen: list[Any] = []

        async def read() -> None:
            stream = await ai.responses.create(model="tiny", input="hi", stream=True)
            async for event in stream:
                seen[:] = [event]

        with pytest.raises(openai.APIError, match="the answer broke off"):
            await read()
        assert seen[-1].type == "response.failed"
        assert seen[-1].response.error.code == "server_error"
        call = await front.only_call()
        assert (call.outcome, call.error_code, call.completion_tokens) == ("failed", "stream_broken", 1)


async def test_an_owners_own_sampling_fields_go_on_to_its_engine(sqlite_store: Store) -> None:
    async with scripted_engine() as engine, serving(sqlite_store, agent_view("one", engine.port)) as front:
        fields = {"top_k": 5, "structured_outputs": {"choice": ["yes"]}, "temperature": 0.5}
        async with httpx2.AsyncClient(headers={"authorization": f"Bearer {KEY}"}) as http:
            body = {"model": "tiny", "input": "hi", **fields}
            reply = await http.post(f"{front.url}/v1/responses", json=body)
        assert reply.status_code == 200
        assert fields.items() <= engine.received[0].json.items()
