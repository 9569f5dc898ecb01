"""A client that goes away mid-stream stops the engine within a second, and its tokens are on record."""

import time
from typing import Any

from tests.e2e.conftest import World
from tests.support.engine_model import SERVED_NAME
from tests.support.programs import eventually
from tests.support.raw_client import RawClient

DEADLINE_S = 1.0
# Long enough that it cannot end by itself while the test looks.
LONG: dict[str, Any] = {
    "model": SERVED_NAME,
    "messages": [{"role": "user", "content": "Go on"}],
    "max_tokens": 8000,
    "ignore_eos": True,
    "stream": True,
}


def test_the_engine_stops_within_a_second_and_the_tokens_are_on_record(world: World, raw: RawClient) -> None:
    before = world.probe.generated_tokens()
    with raw.stream("/v1/chat/completions", LONG) as stream:
        read = len(stream.contents(20))
    gone = time.monotonic()
    # No condition to wait for: the promise is about what has *not* happened after this moment.
    time.sleep(max(0.0, gone + DEADLINE_S - time.monotonic()))
    at_deadline = world.probe.generated_tokens()
    # Long enough for hundreds of tokens, had it gone on.
    time.sleep(1.0)
    assert world.probe.generated_tokens() == at_deadline
    generated = at_deadline - before

    assert stream.call_id is not None
    call_id = stream.call_id
    eventually(lambda: world.system.control.call(call_id)["outcome"] != "running", "settled", timeout_s=5)
    call = world.system.control.call(call_id)
    assert call["outcome"] == "client_gone"
    assert read <= call["completion_tokens"] <= generated < LONG["max_tokens"]
    assert call["prompt_tokens"] > 0


def test_the_next_call_is_served_as_ever(raw: RawClient) -> None:
    with raw.stream("/v1/chat/completions", LONG | {"max_tokens": 10}) as stream:
        assert list(stream.events())[-1] == "[DONE]"
