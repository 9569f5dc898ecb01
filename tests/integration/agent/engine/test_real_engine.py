"""One life of a real vLLM with the tiny model: started, called, left alone, crashed, adopted, stopped.

An engine takes most of a minute to start, so the tests of this file share one, in the order they stand in.
"""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from daalu_wire.v1 import agent_pb2

from agent.engine import Engine, EngineSettings
from agent.engine.memory import Desired, Memory, RunningEngine
from agent.engine.session import session_members, signal_session
from tests.support.engine_gate import KEY, KEY_ID, SERVED_NAME, ticket
from tests.support.engine_model import MODEL_ID, free_port, tiny_model
from tests.support.machine import engine_python
from tests.support.programs import eventually

pytestmark = [pytest.mark.engine, pytest.mark.timeout(420)]

ROOT = Path(__file__).parents[4]
DAEMON = ROOT / "tests" / "support" / "engine_daemon.py"
START_S = 240.0


class Life:
    """The state directory over several daemons, and what a gateway would do."""

    def __init__(self, directory: Path) -> None:
        model = tiny_model()
        self.settings = EngineSettings(
            state=directory,
            address="127.0.0.1",
            port=free_port(),
            engine_python=engine_python(),
            models=model.models,
            catalogue=model.catalogue,
        )
        self.memory = Memory(directory)
        self._daemon: subprocess.Popen[bytes] | None = None

    def start_daemon(self) -> None:
        settings = self.settings
        arguments = [
            settings.state,
            settings.port,
            settings.engine_python,
            settings.models,
            settings.catalogue,
        ]
        (settings.state / "sample.json").unlink(missing_ok=True)
        self._daemon = subprocess.Popen(
            [sys.executable, DAEMON, *map(str, arguments)], env={**os.environ, "PYTHONPATH": str(ROOT)}
        )

    def kill_daemon(self) -> None:
        if self._daemon is not None:
            self._daemon.kill()
            self._daemon.wait()
            self._daemon = None

    def sample(self) -> dict[str, Any]:
        path = self.settings.state / "sample.json"
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def is_ready(self) -> bool:
        return self.sample().get("phase") == "ENGINE_PHASE_READY"

    def wait_ready(self) -> None:
        eventually(
            lambda: self.sample().get("phase") == "ENGINE_PHASE_READY",
            "the engine is ready",
            timeout_s=START_S,
        )

    def running(self) -> RunningEngine:
        running = self.memory.running()
        assert running is not None
        return running

    @contextlib.contextmanager
    def asking(
        self, header: bytes | None, question: dict[str, object], path: str = "/v1/chat/completions"
    ) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection("127.0.0.1", self.settings.port, timeout=60)
        with contextlib.closing(connection):
            headers = {"content-type": "application/json"}
            if header is not None:
                headers["x-daalu-ticket"] = header.decode()
            connection.request("POST", path, json.dumps(question), headers)
            with connection.getresponse() as response:
                yield response

    def metrics(self) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.settings.port, timeout=10)
        with contextlib.closing(connection):
            header = ticket(t="probe").decode()
            connection.request("GET", "/metrics", headers={"x-daalu-ticket": header})
            with connection.getresponse() as response:
                assert response.status == 200
                return response.read().decode()

    def end(self) -> None:
        self.kill_daemon()
        running = self.memory.running()
        if running is not None:
            signal_session(running.process, signal.SIGKILL)
            eventually(lambda: not session_members(running.process), "its end", timeout_s=20)


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    living = Life(tmp_path_factory.mktemp("engine"))
    yield living
    living.end()


def chat(tokens: int, **more: object) -> dict[str, object]:
    messages = [{"role": "user", "content": "Wie geht es? 東京"}]
    return {"model": SERVED_NAME, "messages": messages, "max_tokens": tokens, "ignore_eos": True, **more}


def streamed(tokens: int, **more: object) -> dict[str, object]:
    usage = {"include_usage": True, "continuous_usage_stats": True}
    return chat(tokens, stream=True, stream_options=usage, **more)


@contextlib.asynccontextmanager
async def looked_after(life: Life) -> AsyncIterator[Engine]:
    """An engine room in this process."""
    engine = Engine(life.settings)
    running = asyncio.create_task(engine.run())
    yield engine
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def receipt_of(life: Life, attempt: str) -> agent_pb2.Receipt:
    async with asyncio.timeout(20):
        async for receipt in Engine(life.settings).receipts(0):
            if receipt.attempt_id == attempt:
                return receipt
    raise AssertionError("unreachable")


async def test_a_deployment_reports_until_a_real_token_came(life: Life) -> None:
    async with looked_after(life) as engine:
        engine.install_ticket_keys([agent_pb2.TicketKey(id=KEY_ID, key=KEY)])
        reference = next(found for found in engine.catalogue() if found.model_id == MODEL_ID)
        async with asyncio.timeout(START_S):
            told = [progress async for progress in engine.deploy(reference)]
        assert told[-1].phase == agent_pb2.ENGINE_PHASE_READY, told[-1].detail
        percents = [progress.progress_percent for progress in told]
        assert percents == sorted(percents)
        assert {agent_pb2.ENGINE_PHASE_STARTING, agent_pb2.ENGINE_PHASE_LOADING} <= {p.phase for p in told}
        sample = engine.sample()
        assert (sample.served_name, sample.context_tokens, sample.max_running_calls) == (
            SERVED_NAME,
            8192,
            16,
        )
        assert sample.kv_cache_percent.WhichOneof("reading") in ("value", None)
    # The daemon's part has ended in good order; the engine runs on.
    assert life.running().process.alive()


async def test_a_call_is_answered_and_counted(life: Life) -> None:
    with life.asking(ticket("unary"), chat(7, n=2)) as response:
        answer = json.loads(response.read())
    assert answer["usage"]["completion_tokens"] == 14
    receipt = await receipt_of(life, "unary")
    assert receipt.outcome == agent_pb2.RECEIPT_OUTCOME_COMPLETE
    assert receipt.prompt_tokens == answer["usage"]["prompt_tokens"]
    assert receipt.completion_tokens == 14


async def test_a_stream_is_counted_choice_by_choice(life: Life) -> None:
    with life.asking(ticket("stream"), streamed(9, n=3)) as response:
        assert b"[DONE]" in response.read()
    receipt = await receipt_of(life, "stream")
    assert (receipt.outcome, receipt.completion_tokens) == (agent_pb2.RECEIPT_OUTCOME_COMPLETE, 27)


async def test_a_caller_who_goes_away_stops_the_work_and_is_counted(life: Life) -> None:
    with life.asking(ticket("gone"), streamed(8000)) as response:
        for _ in range(10):
            response.readline()
    receipt = await receipt_of(life, "gone")
    assert receipt.outcome == agent_pb2.RECEIPT_OUTCOME_CALLER_GONE
    assert 0 < receipt.completion_tokens < 8000
    idle = f'vllm:num_requests_running{{engine="0",model_name="{SERVED_NAME}"}} 0.0'
    eventually(lambda: idle in life.metrics(), "vLLM has stopped generating", timeout_s=1)


def test_refused_requests_do_no_work(life: Life) -> None:
    def work() -> list[str]:
        counted = ("vllm:request_success_total", "vllm:prompt_tokens_total", "vllm:generation_tokens_total")
        return [line for line in life.metrics().splitlines() if line.startswith(counted)]

    before = work()
    used = ticket("used-already")
    with life.asking(used, chat(1)) as response:
        assert response.status == 200
    assert work() != before
    before = work()
    refusals = [(None, 401), (ticket(e=1), 401), (ticket(key=b"0" * 32), 401), (used, 403)]
    for header, status in [*refusals, (ticket(m="another"), 403)]:
        with life.asking(header, chat(5)) as response:
            assert response.status == status
            assert set(json.loads(response.read())["error"]) == {"message", "type", "param", "code"}
    for path in ("/tokenize", "/invocations", "/v1/responses", "/pause", "/v1/chat/completions/batch"):
        with life.asking(ticket(), chat(5), path) as response:
            assert response.status == 404
    assert work() == before


def test_a_killed_daemon_costs_no_stream_and_adopts_the_engine_again(life: Life) -> None:
    life.start_daemon()
    life.wait_ready()
    before = life.running()
    with life.asking(ticket("over the kill"), streamed(400)) as response:
        response.readline()
        life.kill_daemon()
        life.start_daemon()
        life.wait_ready()
        assert b"[DONE]" in response.read()
    assert life.running() == before


async def test_a_drained_engine_turns_calls_away_until_it_resumes(life: Life) -> None:
    life.kill_daemon()
    async with looked_after(life) as engine:
        async with asyncio.timeout(30):
            reference = next(found for found in engine.catalogue() if found.model_id == MODEL_ID)
            told = [progress async for progress in engine.deploy(reference)]
            assert told[-1].phase == agent_pb2.ENGINE_PHASE_READY
        assert await engine.drain() == 0
        assert engine.sample().phase == agent_pb2.ENGINE_PHASE_DRAINING
        with life.asking(ticket(), chat(1)) as response:
            assert response.status == 503
        await engine.resume()
        with life.asking(ticket(), chat(1)) as response:
            assert response.status == 200
        assert engine.sample().phase == agent_pb2.ENGINE_PHASE_READY


async def test_a_killed_engine_is_started_again_and_its_call_accounted_for(life: Life) -> None:
    life.start_daemon()
    life.wait_ready()
    before = life.running()
    with life.asking(ticket("cut"), streamed(8000)) as response:
        response.readline()
        os.kill(before.process.pid, signal.SIGKILL)
        eventually(
            lambda: life.sample().get("phase") != "ENGINE_PHASE_READY", "the loss is seen", timeout_s=20
        )
    eventually(lambda: not session_members(before.process), "its orphans end", timeout_s=20)
    life.wait_ready()
    assert life.running().process != before.process
    assert life.sample()["restartsCount"] == 1
    receipt = await receipt_of(life, "cut")
    assert receipt.outcome == agent_pb2.RECEIPT_OUTCOME_INTERRUPTED


async def test_stopping_leaves_no_process(life: Life) -> None:
    life.kill_daemon()
    running = life.running()
    assert len(session_members(running.process)) > 1
    async with looked_after(life) as engine, asyncio.timeout(60):
        await engine.stop(grace_ms=100)
        assert engine.sample().phase == agent_pb2.ENGINE_PHASE_STOPPED
    assert session_members(running.process) == []
    assert life.memory.running() is None
    assert life.memory.desired() == Desired()
