"""Bad input: a 4xx in OpenAI's shape within a second, and nothing forwarded."""

import asyncio
import json
import time
from typing import Any

import httpx2
import pytest

from control_plane.fleet import Liveness
from control_plane.gateway import Limits
from control_plane.store import Store
from tests.support.gateway import KEY, agent_view, serving
from tests.support.gateway_engine import scripted_engine

PROMISE_S = 1.0
GOOD: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}

BAD: list[tuple[str, bytes, int, str, str | None]] = [
    ("broken JSON", b'{"model": "tiny", ', 400, "invalid_json", None),
    ("nothing", b"", 400, "invalid_json", None),
    ("not an object", b"[1]", 400, "invalid_json", None),
    ("NaN", b'{"model": "tiny", "temperature": NaN}', 400, "invalid_json", None),
    ("a key twice", b'{"model": "tiny", "model": "other", "messages": []}', 400, "invalid_json", None),
    ("an integer too long", b'{"model": "tiny", "seed": 123456789012345678901}', 400, "invalid_json", None),
    ("a lone surrogate", b'{"model": "\\ud800"}', 400, "invalid_json", None),
    ("not UTF-8", b'{"model": "\xff"}', 400, "invalid_json", None),
    ("nested deeply", b'{"model": "tiny", "x": ' + b"[" * 900 + b"]" * 900 + b"}", 400, "invalid_json", None),
    ("no model", json.dumps({**GOOD, "model": None}).encode(), 400, "invalid_value", "model"),
    ("model a number", json.dumps({**GOOD, "model": 5}).encode(), 400, "invalid_value", "model"),
    ("unknown model", json.dumps({**GOOD, "model": "gpt"}).encode(), 404, "model_not_found", "model"),
    ("stream a word", json.dumps({**GOOD, "stream": "yes"}).encode(), 400, "invalid_value", "stream"),
    ("n zero", json.dumps({**GOOD, "n": 0}).encode(), 400, "invalid_value", "n"),
    ("n true", json.dumps({**GOOD, "n": True}).encode(), 400, "invalid_value", "n"),
    (
        "max_tokens a text",
        json.dumps({**GOOD, "max_tokens": "9"}).encode(),
        400,
        "invalid_value",
        "max_tokens",
    ),
    ("messages a text", json.dumps({**GOOD, "messages": "hi"}).encode(), 400, "invalid_value", "messages"),
    (
        "a message a text",
        json.dumps({**GOOD, "messages": ["hi"]}).encode(),
        400,
        "invalid_value",
        "messages[0]",
    ),
    (
        "options a list",
        json.dumps({**GOOD, "stream_options": []}).encode(),
        400,
        "invalid_value",
        "stream_options",
    ),
    (
        "too long",
        json.dumps({**GOOD, "max_tokens": 9000}).encode(),
        400,
        "context_length_exceeded",
        "messages",
    ),
    ("20 MB", b"x" * 20_000_000, 413, "body_too_large", None),
]


def error_of(reply: httpx2.Response) -> dict[str, Any]:
    assert reply.headers["content-type"] == "application/json"
    value = reply.json()
    assert set(value) == {"error"}
    assert set(value["error"]) == {"message", "type", "param", "code"}
    error: dict[str, Any] = value["error"]
    return error


@pytest.mark.parametrize(
    ("body", "status", "code", "param"), [row[1:] for row in BAD], ids=[row[0] for row in BAD]
)
async def test_a_bad_body_is_refused_at_once(
    sqlite_store: Store, body: bytes, status: int, code: str, param: str | None
) -> None:
    async with scripted_engine() as engine, serving(sqlite_store, agent_view("one", engine.port)) as front:
        async with httpx2.AsyncClient(headers={"authorization": f"Bearer {KEY}"}) as http:
            began = time.monotonic()
            reply = await http.post(f"{front.url}/v1/chat/completions", content=body)
            took = time.monotonic() - began
        error = error_of(reply)
        assert (reply.status_code, error["code"], error["param"]) == (status, code, param)
        assert took < PROMISE_S
        assert engine.connections == 0


@pytest.mark.parametrize("header", [None, "Bearer", "Bearer wrong", f"Basic {KEY}", KEY])
async def test_no_key_or_a_wrong_one_is_refused(sqlite_store: Store, header: str | None) -> None:
    async with serving(sqlite_store, agent_view("one")) as front, httpx2.AsyncClient() as http:
        headers = {} if header is None else {"authorization": header}
        reply = await http.post(f"{front.url}/v1/chat/completions", json=GOOD, headers=headers)
        assert (reply.status_code, error_of(reply)["code"]) == (401, "invalid_api_key")
        assert await front.calls() == []


async def test_wrong_methods_and_unknown_paths_are_refused_in_the_same_shape(sqlite_store: Store) -> None:
    async with (
        serving(sqlite_store) as front,
        httpx2.AsyncClient(headers={"authorization": f"Bearer {KEY}"}) as http,
    ):
        reply = await http.get(f"{front.url}/v1/chat/completions")
        assert (reply.status_code, reply.headers["allow"]) == (405, "POST")
        assert error_of(reply)["code"] == "method_not_allowed"
        reply = await http.post(f"{front.url}/v1/invocations", json=GOOD)
        assert (reply.status_code, error_of(reply)["code"]) == (404, "unknown_url")
        reply = await http.get(f"{front.url}/v1/models/none")
        assert (reply.status_code, error_of(reply)["code"]) == (404, "model_not_found")


async def test_large_headers_and_a_mistyped_purpose_are_refused(sqlite_store: Store) -> None:
    async with serving(sqlite_store, agent_view("one")) as front, httpx2.AsyncClient() as http:
        key = {"authorization": f"Bearer {KEY}"}
        url = f"{front.url}/v1/chat/completions"
        reply = await http.post(url, json=GOOD, headers={**key, "x-bomb": "x" * 40_000})
        assert (reply.status_code, error_of(reply)["code"]) == (431, "headers_too_large")
        reply = await http.post(url, json=GOOD, headers={**key, "x-daalu-purpose": "codng"})
        assert (reply.status_code, error_of(reply)["param"]) == (400, "x-daalu-purpose")


async def test_a_body_that_grows_past_the_limit_without_announcing_it_is_refused(sqlite_store: Store) -> None:
    async def endless() -> Any:
        for _ in range(40):
            yield b" " * 1000

    limits = Limits(request_body_bytes=10_000)
    async with serving(sqlite_store, agent_view("one"), limits=limits) as front, httpx2.AsyncClient() as http:
        headers = {"authorization": f"Bearer {KEY}"}
        reply = await http.post(f"{front.url}/v1/chat/completions", content=endless(), headers=headers)
        assert (reply.status_code, error_of(reply)["code"]) == (413, "body_too_large")


async def test_a_body_that_comes_too_slowly_is_refused(sqlite_store: Store) -> None:
    limits = Limits(request_body_gap_s=0.2)
    async with serving(sqlite_store, agent_view("one"), limits=limits) as front:
        port = int(front.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
        writer.write(f"{head}content-length: 100\r\n\r\n{{".encode())
        async with asyncio.timeout(5):
            reply = await reader.read()
        writer.close()
        assert reply.startswith(b"HTTP/1.1 408 ")
        assert b'"code":"request_timeout"' in reply


async def test_a_refused_call_is_on_record_with_the_reasons(sqlite_store: Store) -> None:
    agents = (agent_view("dead", liveness=Liveness.OUT),)
    async with serving(sqlite_store, *agents) as front, httpx2.AsyncClient() as http:
        headers = {"authorization": f"Bearer {KEY}"}
        reply = await http.post(f"{front.url}/v1/chat/completions", json=GOOD, headers=headers)
        error = error_of(reply)
        assert (reply.status_code, error["code"]) == (503, "no_capacity")
        assert "dead: it has not been heard of for 15 s" in error["message"]
        call = await front.only_call()
        assert reply.headers["x-daalu-call-id"] == call.id
        assert (call.outcome, call.http_status, call.error_code) == ("refused", 503, "no_capacity")
        assert json.loads(call.decision)["left_out"][0]["code"] == "out_of_reach"
