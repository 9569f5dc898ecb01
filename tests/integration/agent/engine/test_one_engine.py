"""One engine for each agent, whatever is asked and whoever dies: never two, and never one nobody knows of."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from daalu_wire.v1 import agent_pb2

from agent.engine import Engine, EngineSettings
from agent.engine.session import end_session, sessions_with
from agent.process import ProcessMark
from tests.support.engine_model import free_port
from tests.support.engine_stand_in import HOLD, stand_in

READY_TIMEOUT_S = 60.0


@pytest.fixture
async def settings(tmp_path: Path) -> AsyncIterator[EngineSettings]:
    for name in ("state", "catalogue"):
        (tmp_path / name).mkdir()
    for name in ("one", "other"):
        directory = tmp_path / "models" / name
        directory.mkdir(parents=True)
        (directory / "config.json").write_text("{}")
        entry = {
            "modelId": name,
            "servedName": name,
            "kind": "MODEL_KIND_GENERAL",
            "licence": "Apache-2.0",
            "source": {"directory": name},
            "contextTokens": 2048,
            "dtype": "bfloat16",
            "maxRunningCalls": 4,
        }
        (tmp_path / "catalogue" / f"{name}.json").write_text(json.dumps(entry))
    settings = EngineSettings(
        state=tmp_path / "state",
        address="127.0.0.1",
        port=free_port(),
        engine_python=stand_in(tmp_path),
        models=tmp_path / "models",
        catalogue=tmp_path / "catalogue",
    )
    yield settings
    for session in engines(settings):
        await end_session(session, terminate_s=5)


def engines(settings: EngineSettings) -> list[ProcessMark]:
    return sessions_with(f"DAALU_GATE_CONFIG={settings.state / 'gate' / 'config.json'}")


@contextlib.asynccontextmanager
async def daemon(settings: EngineSettings) -> AsyncIterator[Engine]:
    """Its end is as sudden as a kill's: whatever it had in hand stays as it is."""
    engine = Engine(settings)
    running = asyncio.create_task(engine.run())
    try:
        yield engine
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def reference(engine: Engine, model_id: str) -> agent_pb2.CatalogueReference:
    return next(found for found in engine.catalogue() if found.model_id == model_id)


async def deployed(engine: Engine, model_id: str) -> int:
    """The engine's pid, once the model is ready."""
    async with asyncio.timeout(READY_TIMEOUT_S):
        told = [progress async for progress in engine.deploy(reference(engine, model_id))]
    assert told[-1].phase == agent_pb2.ENGINE_PHASE_READY, told[-1]
    return running_pid(engine)


def running_pid(engine: Engine) -> int:
    running = engine._memory.running()
    assert running is not None
    return running.process.pid


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(READY_TIMEOUT_S):
        while not condition():  # noqa: ASYNC110 - processes and files are what is waited for
            await asyncio.sleep(0.05)


async def test_the_same_deployment_again_joins_the_engine_that_runs(settings: EngineSettings) -> None:
    async with daemon(settings) as engine:
        first = await deployed(engine, "one")
        assert await deployed(engine, "one") == first
        assert [each.pid for each in engines(settings)] == [first]


async def test_wishes_that_overtake_each_other_leave_one_engine_of_the_last(settings: EngineSettings) -> None:
    async with daemon(settings) as engine:
        for model_id in ("one", "other", "one", "other"):
            await anext(engine.deploy(reference(engine, model_id)))
            await asyncio.sleep(0)
        last = await deployed(engine, "other")
        assert [each.pid for each in engines(settings)] == [last]
        assert engine.sample().model.model_id == "other"


async def test_an_engine_is_adopted_by_the_next_daemon_and_a_deployment_then_joins_it(
    settings: EngineSettings,
) -> None:
    async with daemon(settings) as engine:
        first = await deployed(engine, "one")
    async with daemon(settings) as engine:
        assert await deployed(engine, "one") == first
        assert [each.pid for each in engines(settings)] == [first]


async def test_an_engine_that_was_started_and_not_written_down_is_ended_before_another_starts(
    settings: EngineSettings,
) -> None:
    async with daemon(settings) as engine:
        unknown = await deployed(engine, "one")
    (settings.state / "engine.json").unlink()
    async with daemon(settings) as engine:
        second = await deployed(engine, "one")
        assert second != unknown
        assert [each.pid for each in engines(settings)] == [second]


async def test_a_daemon_killed_while_its_engine_starts_leaves_one_that_the_next_goes_on_with(
    settings: EngineSettings, tmp_path: Path
) -> None:
    (tmp_path / HOLD).touch()
    async with daemon(settings) as engine:
        await anext(engine.deploy(reference(engine, "one")))
        await until((settings.state / "engine.json").exists)
        first = running_pid(engine)
    (tmp_path / HOLD).unlink()
    async with daemon(settings) as engine:
        assert await deployed(engine, "one") == first
        assert [each.pid for each in engines(settings)] == [first]
