"""A load test by vLLM's own client, on a real engine, through a real tunnel: real tokens, all on record."""

import json
from typing import Any

import pytest

from tests.e2e.conftest import World
from tests.support.engine_model import MODEL_ID
from tests.support.programs import eventually

CONCURRENCIES = (1, 2, 4)
REQUESTS_PER_CALL = 4
INPUT_TOKENS, OUTPUT_TOKENS = 64, 32
REQUESTS = sum(CONCURRENCIES) * REQUESTS_PER_CALL
# More than the test's own, so that none of those before it comes among them.
NEWEST = "/calls?limit=100"
# The client's start, an import of vLLM, is most of it.
TEST_TIMEOUT_S = 110


def _run(world: World) -> Any:
    control = world.system.control
    sweep = {
        "concurrencies": CONCURRENCIES,
        "input_tokens": INPUT_TOKENS,
        "output_tokens": OUTPUT_TOKENS,
        "requests_per_call": REQUESTS_PER_CALL,
        "duration_s": TEST_TIMEOUT_S,
    }
    started = control.rest("POST", f"/agents/{world.owner.agent.name}/loadtests", sweep)

    def ended() -> Any:
        shown = control.rest("GET", f"/loadtests/{started['id']}")
        return shown if shown["state"] != "running" else None

    return eventually(ended, "the load test has ended", timeout_s=TEST_TIMEOUT_S + 10)


def test_a_real_engine_is_measured_through_the_tunnel_and_every_token_is_on_record(world: World) -> None:
    control = world.system.control
    before = {call["id"] for call in control.rest("GET", NEWEST)}
    test = _run(world)
    assert (test["state"], test["error"], test["model_id"]) == ("ended", None, MODEL_ID)
    # For the tables in the documentation: pytest shows it with -rP.
    print(json.dumps(test["steps"], indent=1))
    assert [step["concurrency"] for step in test["steps"]] == list(CONCURRENCIES)
    for step in test["steps"]:
        assert (step["completed"], step["failed"]) == (step["concurrency"] * REQUESTS_PER_CALL, 0)
        assert 0 < step["ttft_p50_ms"] <= step["ttft_p90_ms"] <= step["ttft_p99_ms"]
        assert 0 < step["itl_p50_ms"] <= step["itl_p99_ms"]
        # Every request had all the tokens that were asked for.
        assert step["output_tokens_per_s"] == pytest.approx(step["requests_per_s"] * OUTPUT_TOKENS, rel=0.01)
    calls = [call for call in control.rest("GET", NEWEST) if call["id"] not in before]
    assert len(calls) == REQUESTS
    for call in calls:
        assert (call["tier"], call["agent_id"], call["outcome"]) == ("own", test["agent_id"], "complete")
        assert call["completion_tokens"] == OUTPUT_TOKENS, call
        # The chat template's own tokens, and what the tokenizer makes of random ones, come on top.
        assert call["prompt_tokens"] >= INPUT_TOKENS, call
