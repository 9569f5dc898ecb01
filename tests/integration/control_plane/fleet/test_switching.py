"""A change of model while calls run: none of them is lost, and new ones wait for the next model.

A whole product in network namespaces: control plane, gateway, tunnel and agent daemon are real, vLLM is stood
in for (tests/support/engine_stand_in.py).
"""

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from agent.engine.session import sessions_with
from tests.support.engine_stand_in import BETWEEN_WORDS_S, HOLD, stand_in
from tests.support.netlab import Lab
from tests.support.networks import Internet
from tests.support.product import AgentOptions
from tests.support.programs import eventually
from tests.support.system import Site, System

CALLS = 3
# Past the grace that an agent by itself gives calls that run.
AGENTS_GRACE_S = 30.0
LONG_WORDS = round((AGENTS_GRACE_S + 8) / BETWEEN_WORDS_S)
pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]


def _entry(name: str) -> str:
    return json.dumps(
        {
            "modelId": name,
            "servedName": name,
            "kind": "MODEL_KIND_GENERAL",
            "licence": "Apache-2.0",
            "source": {"directory": name},
            "parametersCount": "200000",
            "contextTokens": 8192,
            "architecture": {"layersCount": 2, "kvHeadsCount": 2, "headSize": 16},
            "dtype": "bfloat16",
            "maxRunningCalls": 4,
        }
    )


@dataclass(frozen=True)
class Bench:
    system: System
    site: Site
    client: openai.OpenAI
    # While it is there no engine gets further than its start.
    hold: Path

    def agent(self) -> Any:
        return self.system.control.agent(self.site.agent.name)

    def call(self, model: str, words: int) -> str:
        """The whole answer of a streamed call."""
        with self.system.network.control.entered():
            stream = self.client.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": "go on"}],
                max_tokens=words,
                stream=True,
            )
            return "".join(each.choices[0].delta.content or "" for each in stream if each.choices)

    def until(self, what: str, condition: Any, timeout_s: float = 60.0) -> Any:
        return eventually(lambda: condition(self.agent()), what, timeout_s=timeout_s)

    def until_serving(self, model: str) -> None:
        def serving(agent: Any) -> bool:
            engine = agent["engine"]
            return engine is not None and (engine["model_id"], engine["phase"]) == (model, "ready")

        self.until(f"{model} serves", serving)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    directory = tmp_path_factory.mktemp("switching")
    catalogue, models = directory / "catalogue", directory / "models"
    catalogue.mkdir()
    for name in ("old", "new"):
        (catalogue / f"{name}.json").write_text(_entry(name))
        (models / name).mkdir(parents=True)
        (models / name / "config.json").write_text("{}")
    options = AgentOptions(engine_python=stand_in(directory), models=models, catalogue=catalogue)
    with Lab() as lab, System(lab, Internet(lab), directory, catalogue=catalogue) as system:
        system.start()
        system.control.create_tenant("acme")
        site = system.new_site("box", options)
        system.join(site, "acme")
        yield Bench(system, site, system.client(system.control.create_key("acme")), directory / HOLD)


@pytest.fixture
def old(bench: Bench) -> Bench:
    bench.system.control.deploy("box", "old")
    bench.until_serving("old")
    return bench


def _begun(bench: Bench, pool: ThreadPoolExecutor, words: int) -> list[Future[str]]:
    calls = [pool.submit(bench.call, "old", words) for _ in range(CALLS)]
    bench.until("the calls run", lambda agent: agent["engine"]["running_calls"] == CALLS)
    return calls


def _whole(words: int) -> str:
    return "".join(f"word{number} " for number in range(1, words + 1))


def test_calls_that_outlive_the_agents_own_grace_end_whole_and_then_the_model_changes(old: Bench) -> None:
    with ThreadPoolExecutor(CALLS) as pool:
        calls = _begun(old, pool, LONG_WORDS)
        old.system.control.deploy("box", "new")
        old.until(
            "it says what it waits for",
            lambda agent: agent["progress"] == "draining, 3 calls running; then new is deployed",
        )
        with pytest.raises(openai.APIStatusError) as refused:
            old.call("old", 1)
        assert refused.value.status_code == 503
        assert "it is being drained" in str(refused.value)
        assert [call.result(timeout=90) for call in calls] == [_whole(LONG_WORDS)] * CALLS
    old.until_serving("new")
    assert old.call("new", 2) == _whole(2)
    shown = old.agent()
    assert (shown["progress"], shown["problems"], shown["drained"]) == (None, {}, False)


def test_a_wish_that_is_taken_back_while_calls_are_waited_for_opens_the_engine_again(old: Bench) -> None:
    words = round(10 / BETWEEN_WORDS_S)
    with ThreadPoolExecutor(CALLS) as pool:
        calls = _begun(old, pool, words)
        old.system.control.deploy("box", "new")
        old.until("it is draining", lambda agent: agent["engine"]["phase"] == "draining")
        old.system.control.deploy("box", "old")
        old.until("it serves again", lambda agent: agent["engine"]["phase"] == "ready")
        assert old.call("old", 1) == _whole(1)
        assert [call.result(timeout=60) for call in calls] == [_whole(words)] * CALLS


@pytest.mark.parametrize("phase", ["wanted", "draining", "starting"])
def test_a_control_plane_killed_in_the_middle_of_a_change_finishes_it_after_its_restart(
    old: Bench, phase: str
) -> None:
    with ThreadPoolExecutor(CALLS) as pool:
        calls = _begun(old, pool, LONG_WORDS) if phase == "draining" else []
        if phase == "starting":
            old.hold.touch()
        try:
            old.system.control.deploy("box", "new")
            if phase != "wanted":
                old.until(f"it is {phase}", lambda agent: agent["engine"]["phase"] == phase)
            old.system.control.crash()
        finally:
            old.hold.unlink(missing_ok=True)
        # They went through the process that was killed.
        for call in calls:
            assert call.exception(timeout=60) is not None
    old.until_serving("new")
    assert old.call("new", 2) == _whole(2)
    assert _engines(old) == [old.site.agent.engine_pid()]


def _engines(bench: Bench) -> list[int]:
    config = bench.site.agent.state / "gate" / "config.json"
    return [each.pid for each in sessions_with(f"DAALU_GATE_CONFIG={config}")]


def test_a_daemon_killed_after_it_was_told_of_the_next_model_lets_the_calls_of_the_old_one_end(
    old: Bench,
) -> None:
    words = round(12 / BETWEEN_WORDS_S)
    with ThreadPoolExecutor(CALLS) as pool:
        calls = _begun(old, pool, words)
        engine = old.site.agent.engine_pid()
        old.site.agent.daemon.kill()
        desired = json.loads((old.site.agent.state / "desired.json").read_text())
        # As it stands after the control plane's limit: told, written down, not yet acted upon.
        (old.site.agent.state / "desired.json").write_text(
            json.dumps(desired | {"model_id": "", "digest": "", "drained": False})
        )
        old.site.agent.start()
        assert [call.result(timeout=60) for call in calls] == [_whole(words)] * CALLS
    assert engine is not None
    eventually(lambda: old.site.agent.engine_pid() != engine, "the old engine has ended", timeout_s=30)
