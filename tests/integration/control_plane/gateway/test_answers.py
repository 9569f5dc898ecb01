"""What clients get from a well-behaved engine, and what the engine gets from them."""

import base64
import json
from typing import Any

import httpx2
import openai

from control_plane.store import Store
from tests.support.gateway import CODING_KEY, KEY, TENANT, agent_view, engine_view, serving
from tests.support.gateway_engine import (
    END,
    PROMPT_TOKENS,
    Exchange,
    answer,
    chunk,
    last_chunk,
    scripted_engine,
    stream_of,
)

ASK: list[Any] = [{"role": "user", "content": "hi"}]


def client(url: str, key: str = KEY) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


async def test_a_whole_answer_reaches_the_client_as_the_engine_sent_it(sqlite_store: Store) -> None:
    async with scripted_engine() as engine, serving(sqlite_store, agent_view("one", engine.port)) as front:
        async with client(front.url) as ai:
            raw = await ai.chat.completions.with_raw_response.create(model="tiny", messages=ASK)
        assert json.loads(raw.content) == answer("Hello")
        call = await front.only_call()
        assert raw.headers["x-daalu-call-id"] == call.id
        assert (raw.headers["x-daalu-tier"], raw.headers["x-daalu-model"]) == ("own", "tiny")
        assert (call.outcome, call.prompt_tokens, call.completion_tokens) == ("complete", PROMPT_TOKENS, 5)
        assert (call.tenant_id, call.agent_id, call.http_status) == (TENANT, "agt-one", 200)
        [attempt] = await front.attempts()
        assert (attempt.outcome, attempt.completion_tokens) == ("complete", 5)


async def test_a_stream_reaches_the_client_without_the_usage_it_did_not_ask_for(sqlite_store: Store) -> None:
    async with scripted_engine() as engine, serving(sqlite_store, agent_view("one", engine.port)) as front:
        async with client(front.url) as ai:
            stream = await ai.chat.completions.create(model="tiny", messages=ASK, stream=True)
            chunks = [one async for one in stream]
        text = "".join(one.choices[0].delta.content or "" for one in chunks)
        assert text == "Hello wörld 🌍"
        assert all(one.usage is None for one in chunks)
        call = await front.only_call()
        assert (call.outcome, call.completion_tokens, call.streamed) == ("complete", 4, True)
        assert call.first_token_ms is not None


async def test_a_client_that_asks_for_usage_gets_the_last_chunk_alone(sqlite_store: Store) -> None:
    async with scripted_engine() as engine, serving(sqlite_store, agent_view("one", engine.port)) as front:
        async with client(front.url) as ai:
            stream = await ai.chat.completions.create(
                model="tiny", messages=ASK, stream=True, stream_options={"include_usage": True}
            )
            chunks = [one async for one in stream]
        assert [one.usage is not None for one in chunks] == [False] * 5 + [True]
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens == 4


async def test_a_client_that_asks_for_running_usage_gets_every_byte(sqlite_store: Store) -> None:
    async with scripted_engine() as engine, serving(sqlite_store, agent_view("one", engine.port)) as front:
        options = {"include_usage": True, "continuous_usage_stats": True}
        body = {"model": "tiny", "messages": ASK, "stream": True, "stream_options": options}
        async with httpx2.AsyncClient() as http:
            reply = await http.post(
                f"{front.url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {KEY}"}
            )
        assert reply.content == b"".join(stream_of("Hello", " wörld", " 🌍"))


async def test_the_engine_gets_the_clients_json_and_the_gateways_own_fields(sqlite_store: Store) -> None:
    async with scripted_engine() as engine, serving(sqlite_store, agent_view("one", engine.port)) as front:
        sent = {
            "model": "tiny-random-llama",
            "messages": [{"role": "user", "content": "snow ☃ and \U0001f600"}],
            "temperature": 0.1,
            "seed": 2**63 - 1,
            "vendor": {"nested": [1, None, True, 1e-7]},
            "priority": -100,
            "cache_salt": "theirs",
            "request_id": "theirs",
        }
        async with httpx2.AsyncClient() as http:
            headers = {"authorization": f"Bearer {KEY}", "x-secret": "not for engines", "cookie": "a=b"}
            reply = await http.post(f"{front.url}/v1/chat/completions", json=sent, headers=headers)
        assert reply.status_code == 200
        exchange = engine.received[0]
        got = exchange.json
        call = await front.only_call()
        assert got.pop("request_id") == f"{call.id}-1"
        assert got.pop("priority") == 0
        assert got.pop("cache_salt") not in ("theirs", "")
        assert got == {
            **{
                key: value
                for key, value in sent.items()
                if key not in ("priority", "cache_salt", "request_id")
            },
            "model": "tiny",
        }
        assert set(exchange.headers) == {"host", "content-type", "content-length", "x-daalu-ticket"}
        assert call.model == "tiny-random-llama"


async def test_a_ticket_names_the_attempt_that_is_on_record(sqlite_store: Store) -> None:
    async with scripted_engine() as engine, serving(sqlite_store, agent_view("one", engine.port)) as front:
        async with client(front.url) as ai:
            await ai.chat.completions.create(model="tiny", messages=ASK)
        claims, _, _ = engine.received[0].headers["x-daalu-ticket"].partition(".")
        ticket = json.loads(base64.urlsafe_b64decode(claims + "=="))
        [attempt] = await front.attempts()
        assert (ticket["c"], ticket["a"]) == (attempt.call_id, attempt.id)
        assert (ticket["m"], ticket["t"], ticket["k"]) == ("tiny", "own", 3)


async def test_an_attempt_is_on_record_before_the_engine_hears_of_it(sqlite_store: Store) -> None:
    found: list[str] = []

    async def look(exchange: Exchange) -> None:
        found.extend(attempt.outcome for attempt in await front.attempts())
        await exchange.send_json(answer("x"))

    async with (
        scripted_engine(look) as engine,
        serving(sqlite_store, agent_view("one", engine.port)) as front,
        client(front.url) as ai,
    ):
        await ai.chat.completions.create(model="tiny", messages=ASK)
    assert found == ["running"]


async def test_the_call_is_settled_before_the_end_marker_is_seen(sqlite_store: Store) -> None:
    async with scripted_engine() as engine, serving(sqlite_store, agent_view("one", engine.port)) as front:
        body = {"model": "tiny", "messages": ASK, "stream": True}
        async with (
            httpx2.AsyncClient(headers={"authorization": f"Bearer {KEY}"}) as http,
            http.stream("POST", f"{front.url}/v1/chat/completions", json=body) as reply,
        ):
            seen = b""
            async for part in reply.aiter_raw():
                seen += part
                if b"[DONE]" in seen:
                    [call] = await front.calls()
                    assert call.outcome == "complete"
        assert seen.endswith(END)


async def test_choices_are_counted_one_by_one_and_the_last_chunk_has_the_sum(sqlite_store: Store) -> None:
    async def two(exchange: Exchange) -> None:
        first = [chunk("", index=index, role="assistant") for index in (0, 1)]
        rest = [chunk("a", index=0, done=1), chunk("b", index=1, done=1), chunk("c", index=1, done=2)]
        await exchange.stream([*first, *rest, last_chunk(3), END])

    async with scripted_engine(two) as engine, serving(sqlite_store, agent_view("one", engine.port)) as front:
        async with client(front.url) as ai:
            stream = await ai.chat.completions.create(model="tiny", messages=ASK, stream=True, n=2)
            texts = ["", ""]
            async for one in stream:
                texts[one.choices[0].index] += one.choices[0].delta.content or ""
        assert texts == ["a", "bc"]
        assert (await front.only_call()).completion_tokens == 3


async def test_connections_are_kept_between_calls(sqlite_store: Store) -> None:
    async with scripted_engine() as engine, serving(sqlite_store, agent_view("one", engine.port)) as front:
        async with client(front.url) as ai:
            for _ in range(3):
                await ai.chat.completions.create(model="tiny", messages=ASK)
                async for _ in await ai.chat.completions.create(model="tiny", messages=ASK, stream=True):
                    pass
        assert (len(engine.received), engine.connections) == (6, 1)


async def test_models_are_those_that_this_tenant_can_reach_now(sqlite_store: Store) -> None:
    agents = (
        agent_view("one"),
        agent_view("loading", engine=engine_view(served_name="later", ready=False)),
        agent_view("theirs", tenant_id="ten-b", engine=engine_view(served_name="foreign")),
    )
    async with serving(sqlite_store, *agents) as front, client(front.url) as ai:
        assert [model.id async for model in ai.models.list()] == ["tiny"]
        assert (await ai.models.retrieve("tiny")).id == "tiny"


async def test_what_is_not_under_v1_goes_to_the_fallback(sqlite_store: Store) -> None:
    async with serving(sqlite_store) as front, httpx2.AsyncClient() as http:
        await http.get(f"{front.url}/api/agents")
        await http.get(f"{front.url}/v1x")
        assert front.fallback_paths == ["/api/agents", "/v1x"]


async def test_a_coding_key_and_a_declaration_both_make_a_coding_call(sqlite_store: Store) -> None:
    async with scripted_engine() as engine, serving(sqlite_store, agent_view("one", engine.port)) as front:
        async with client(front.url, CODING_KEY) as ai:
            headers = {"x-daalu-purpose": "general"}
            await ai.chat.completions.create(model="tiny", messages=ASK, extra_headers=headers)
        async with client(front.url) as ai:
            headers = {"x-daalu-purpose": "Coding"}
            await ai.chat.completions.create(model="tiny", messages=ASK, extra_headers=headers)
            await ai.chat.completions.create(model="tiny", messages=ASK)
        assert [call.purpose for call in await front.calls()] == ["coding", "coding", "general"]
