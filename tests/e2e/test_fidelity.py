"""The engine receives what the client sent, and the client what the engine sent, equal as JSON values."""

import json
from typing import Any

from tests.e2e.conftest import World
from tests.support.engine_model import SERVED_NAME
from tests.support.programs import eventually
from tests.support.raw_client import RawClient
from tests.support.recorded_engine import Exchange

PATH = "/v1/chat/completions"
# The fields that the gateway sets itself, whatever a client sends in them.
SET_BY_GATEWAY = {"priority", "cache_salt", "request_id", "max_tokens", "stream_options"}

# Values that a careless copy would change: big integers, floats at the edge, unicode, empty and null.
BODY: dict[str, Any] = {
    "model": SERVED_NAME,
    "messages": [
        {"role": "system", "content": ""},
        {"role": "user", "content": 'Zażółć 東京 🎉 \u2028 \\ " / \t\n\x7f', "name": "a.b"},
    ],
    "max_tokens": 8,
    "ignore_eos": True,
    "seed": 9007199254740993,
    "temperature": 0.30000000000000004,
    "top_p": 1e-05,
    "stop": None,
    "logit_bias": {"5": -100, "17": 0.1},
    "user": "somebody",
    "metadata": {"nested": [1, 2.0, 3e20, True, None, {}]},
}


def _recorded(
    world: World, raw: RawClient, body: dict[str, Any], headers: dict[str, str] | None = None
) -> tuple[bytes, Exchange]:
    """The answer, and what the engine saw of this one call."""
    answer = raw.ask("POST", PATH, json.dumps(body).encode(), headers)
    assert answer.status == 200, answer.body
    call_id = answer.headers["x-daalu-call-id"]

    def dispatches() -> list[Exchange]:
        seen = world.engine.exchanges()
        return [item for item in seen if call_id in item.request.get("request_id", "")]

    (exchange,) = eventually(dispatches, "the engine has recorded the call", timeout_s=5)
    return answer.body, exchange


def _without(body: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in names}


def test_a_request_reaches_the_engine_as_it_was_sent(world: World, raw: RawClient) -> None:
    _, exchange = _recorded(world, raw, BODY)
    assert _without(exchange.request, SET_BY_GATEWAY) == _without(BODY, SET_BY_GATEWAY)
    assert exchange.request["max_tokens"] == 8


def test_what_a_client_sends_in_the_gateways_own_fields_is_dropped(world: World, raw: RawClient) -> None:
    forged = {"priority": -1000, "cache_salt": "mine", "request_id": "mine"}
    _, plain = _recorded(world, raw, BODY)
    _, exchange = _recorded(world, raw, BODY | forged)
    for name, value in forged.items():
        assert exchange.request[name] != value
    assert exchange.request["cache_salt"] == plain.request["cache_salt"]


def test_no_header_of_the_client_reaches_the_engine(world: World, raw: RawClient) -> None:
    secrets = {"X-Secret": "mine", "Cookie": "mine", "Traceparent": "mine"}
    _, exchange = _recorded(world, raw, BODY, secrets)
    names = {name for name, _ in exchange.headers}
    assert names.isdisjoint({"x-secret", "cookie", "traceparent", "authorization"})
    assert not any("mine" in value or world.owner_key in value for _, value in exchange.headers)


def test_a_whole_answer_reaches_the_client_as_the_engine_sent_it(world: World, raw: RawClient) -> None:
    body, exchange = _recorded(world, raw, BODY)
    assert json.loads(body) == json.loads(exchange.response)


def test_a_stream_reaches_the_client_as_the_engine_sent_it_but_for_usage(
    world: World, raw: RawClient
) -> None:
    """Usage is asked of the engine for the record, and is taken out again where the client did not ask."""
    body, exchange = _recorded(world, raw, BODY | {"stream": True, "n": 2})
    sent = [_without(event, {"usage"}) for event in _events(exchange.response) if event["choices"]]
    received = _events(body.decode())
    assert [_without(event, {"usage"}) for event in received] == sent
    assert all(event.get("usage") is None for event in received)
    assert body.decode().rstrip().endswith("data: [DONE]")


def test_usage_that_was_asked_for_arrives_as_the_engine_sent_it(world: World, raw: RawClient) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}
    body, exchange = _recorded(world, raw, BODY | options)
    assert _events(body.decode()) == _events(exchange.response)


def _events(text: str) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]
