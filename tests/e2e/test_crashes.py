"""Daemon, engine and whole host fail mid-stream, and all heals."""

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.e2e.conftest import World
from tests.support.engine_model import SERVED_NAME
from tests.support.programs import eventually
from tests.support.raw_client import RawClient, Stream

PATH = "/v1/chat/completions"
ENGINE_DEATH_DEADLINE_S = 2.0
OUT_DEADLINE_S = 15.0
# How late a timer of the control plane may be.
TICK_S = 1.0
# From an agent's going out of routing to its streams' error events: the next sweep, and a settlement for
# which a busy disk has its patience. Without the cut they would last until the gap of 60 s.
STREAM_END_S = 5.0
HEAL_TIMEOUT_S = 90.0

LONG: dict[str, Any] = {
    "model": SERVED_NAME,
    "messages": [{"role": "user", "content": "Go on"}],
    "max_tokens": 8000,
    "ignore_eos": True,
    "stream": True,
}


def _error_at_the_end(stream: Stream) -> dict[str, Any]:
    """The error that a stream ends with; asserts that it is one, in OpenAI's shape."""
    events = [data for data in stream.events() if data != "[DONE]"]
    assert events, "the stream ended without a word"
    error: dict[str, Any] = json.loads(events[-1])["error"]
    assert error["message"]
    assert error["code"]
    return error


def _assert_served(raw: RawClient) -> None:
    answer = raw.ask("POST", PATH, json.dumps(LONG | {"max_tokens": 5, "stream": False}).encode())
    assert answer.status == 200, answer.body


def test_a_killed_daemon_costs_no_call_and_comes_back_as_itself(world: World, raw: RawClient) -> None:
    agent = world.owner.agent
    before, engine = world.system.control.agent(agent.name), agent.engine_pid()
    with raw.stream(PATH, LONG) as stream:
        stream.contents(5)
        agent.daemon.kill()
        events = list(stream.events())
    assert events[-1] == "[DONE]"
    assert stream.call_id is not None
    assert world.system.control.call(stream.call_id)["completion_tokens"] == LONG["max_tokens"]

    agent.start()
    world.system.wait_for_liveness(world.owner, "live", timeout_s=HEAL_TIMEOUT_S)
    world.system.wait_for_engine(world.owner, timeout_s=HEAL_TIMEOUT_S)
    after = world.system.control.agent(agent.name)
    assert agent.engine_pid() == engine, "the running engine was adopted, not replaced"
    assert (after["id"], after["tunnel_address"]) == (before["id"], before["tunnel_address"])
    _assert_served(raw)


def test_a_host_that_is_gone_leaves_routing_in_15_s_and_comes_back(world: World, raw: RawClient) -> None:
    name, uplink = world.owner.agent.name, world.owner.customer.uplink
    with raw.stream(PATH, LONG) as stream, ThreadPoolExecutor(1) as reader:
        stream.contents(5)
        uplink.cut()
        try:
            cut = time.monotonic()
            end = reader.submit(lambda: (_error_at_the_end(stream), time.monotonic()))
            last_in_routing = _last_look_in_routing(world, name)
            assert last_in_routing - cut < OUT_DEADLINE_S + TICK_S
            _, ended = end.result(timeout=OUT_DEADLINE_S)
            assert ended - cut < OUT_DEADLINE_S + TICK_S + STREAM_END_S
            refused = raw.ask("POST", PATH, json.dumps(LONG | {"stream": False}).encode())
            assert refused.status == 503
            assert name in refused.json()["error"]["message"], "it says what was left out, and why"
        finally:
            uplink.restore()
            world.system.wait_for_liveness(world.owner, "live", timeout_s=HEAL_TIMEOUT_S)
    _assert_served(raw)
    assert stream.call_id is not None
    assert world.system.control.call(stream.call_id)["outcome"] == "failed"


def _last_look_in_routing(world: World, name: str) -> float:
    """When the last look began that still found the agent in routing: how long looks take does not count."""
    last = time.monotonic()

    def is_out() -> bool:
        nonlocal last
        began = time.monotonic()
        if world.system.control.agent(name)["liveness"] == "out":
            return True
        last = began
        return False

    eventually(is_out, "the agent is out of routing", timeout_s=2 * OUT_DEADLINE_S)
    return last


def test_a_killed_engine_ends_its_streams_cleanly_and_starts_again(world: World, raw: RawClient) -> None:
    engine, control = world.owner.agent.engine_pid(), world.system.control
    assert engine is not None
    restarts = control.agent(world.owner.agent.name)["engine"]["restarts_count"]
    with raw.stream(PATH, LONG) as stream:
        stream.contents(5)
        os.kill(engine, signal.SIGKILL)
        killed = time.monotonic()
        _error_at_the_end(stream)
        assert time.monotonic() - killed < ENGINE_DEATH_DEADLINE_S
    assert stream.call_id is not None
    assert control.call(stream.call_id)["outcome"] == "failed"
    eventually(
        lambda: world.owner.agent.engine_pid() not in (None, engine), "another engine runs", timeout_s=60
    )
    # Until a sample tells of the restart, the control plane's last word is that the old one was ready.
    eventually(
        lambda: control.agent(world.owner.agent.name)["engine"]["restarts_count"] > restarts,
        "the control plane knows of the restart",
        timeout_s=60,
    )
    world.system.wait_for_engine(world.owner)
    _assert_served(raw)
