"""Bad input gets an error in OpenAI's shape within a second, and nothing of it is forwarded."""

import json
from typing import Any

import pytest

from tests.e2e.conftest import World
from tests.support.engine_model import SERVED_NAME
from tests.support.raw_client import Answer, RawClient

PATH = "/v1/chat/completions"
DEADLINE_S = 1.0
GOOD: dict[str, Any] = {"model": SERVED_NAME, "messages": [{"role": "user", "content": "x"}], "max_tokens": 1}


def _assert_refused(answer: Answer, status: int | None = None) -> dict[str, Any]:
    assert 400 <= answer.status < 500, (answer.status, answer.body)
    assert status is None or answer.status == status
    assert answer.duration_s < DEADLINE_S
    error: dict[str, Any] = answer.json()["error"]
    assert isinstance(error["message"], str)
    assert error["message"]
    assert {"type", "code", "param"} <= error.keys()
    return error


@pytest.fixture(autouse=True)
def _nothing_is_forwarded(world: World) -> Any:
    before = len(world.engine.exchanges())
    yield
    assert len(world.engine.exchanges()) == before


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe{}",
        b'{"model": "a", "model": ',
        json.dumps(GOOD).encode() + b"}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
    ids=lambda body: repr(body[:24]),
)
def test_a_body_that_is_not_a_json_object(raw: RawClient, body: bytes) -> None:
    _assert_refused(raw.ask("POST", PATH, body), 400)


@pytest.mark.parametrize(
    "change",
    [
        {"model": None},
        {"model": 5},
        {"messages": None},
        {"messages": "hello"},
        {"messages": []},
        {"messages": [5]},
        {"stream": "yes"},
        {"max_tokens": "many"},
        {"max_tokens": -1},
        {"max_tokens": 1e400},
        {"n": 0},
        {"n": "two"},
        {"stream_options": 5},
    ],
    ids=str,
)
def test_a_field_of_the_wrong_type(raw: RawClient, change: dict[str, Any]) -> None:
    _assert_refused(raw.ask("POST", PATH, json.dumps(GOOD | change).encode()), 400)


def test_a_body_of_20_megabytes(raw: RawClient) -> None:
    body = json.dumps(GOOD | {"messages": [{"role": "user", "content": "x" * 20_000_000}]}).encode()
    _assert_refused(raw.ask("POST", PATH, body), 413)


def test_an_unknown_model_says_which_and_the_reason(raw: RawClient) -> None:
    error = _assert_refused(
        raw.ask("POST", PATH, json.dumps(GOOD | {"model": "nobody-has-it"}).encode()), 404
    )
    assert "nobody-has-it" in error["message"]


@pytest.mark.parametrize("key", [None, "", "sk-wrong", "x" * 5000])
def test_no_key_or_a_wrong_one(raw: RawClient, key: str | None) -> None:
    stranger = RawClient(raw.host, raw.address, raw.port, raw.tls, key)
    _assert_refused(stranger.ask("POST", PATH, json.dumps(GOOD).encode()), 401)


def test_an_unknown_path_and_a_wrong_method(raw: RawClient) -> None:
    _assert_refused(raw.ask("POST", "/v1/nothing", json.dumps(GOOD).encode()), 404)
    _assert_refused(raw.ask("GET", PATH), 405)


@pytest.mark.parametrize("path", ["/metrics", "/invocations", "/tokenize", "/pause", "/collective_rpc"])
def test_the_engines_other_routes_are_not_reachable(raw: RawClient, path: str) -> None:
    assert raw.ask("POST", path, b"{}").status in (404, 405)


@pytest.mark.parametrize(
    "head",
    [
        b"X-Bomb: " + b"x" * 1_000_000,
        b"\r\n".join(b"X-%d: x" % number for number in range(20_000)),
        b"Broken header line",
    ],
    ids=["one huge header", "very many headers", "no header at all"],
)
def test_a_header_bomb_is_refused_in_openais_shape(raw: RawClient, head: bytes) -> None:
    request = b"POST " + PATH.encode() + b" HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n\r\n"
    answer_head, _, body = raw.send(request).partition(b"\r\n\r\n")
    assert 400 <= int(answer_head.split()[1]) < 500, answer_head
    assert {"message", "type", "param", "code"} <= json.loads(body)["error"].keys()
    # The server is as well as before.
    assert raw.ask("GET", "/v1/models").status == 200
