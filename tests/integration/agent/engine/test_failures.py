"""An engine that cannot be had: every cause ends in one clear sentence, and nothing stays behind.

The programs started here in place of vLLM only print what vLLM prints when it fails, and end as it does.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from daalu_wire.v1 import agent_pb2

from agent.engine import Engine, EngineInUse, EngineSettings, NotInCatalogue, supervisor
from agent.engine.memory import Memory
from agent.engine.session import session_members
from tests.support.engine_model import free_port

ENTRY = {
    "modelId": "tiny",
    "servedName": "tiny",
    "kind": "MODEL_KIND_GENERAL",
    "licence": "Apache-2.0",
    "source": {"directory": "tiny"},
    "contextTokens": 2048,
    "dtype": "bfloat16",
    "maxRunningCalls": 4,
}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EngineSettings:
    monkeypatch.setattr(supervisor, "BACKOFF_MAX_S", 0.01)
    for name in ("state", "catalogue", "models/tiny"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "catalogue" / "tiny.json").write_text(json.dumps(ENTRY))
    (tmp_path / "models" / "tiny" / "config.json").write_text("{}")
    return EngineSettings(
        state=tmp_path / "state",
        address="127.0.0.1",
        port=free_port(),
        engine_python=stand_in(tmp_path, "exit 1"),
        models=tmp_path / "models",
        catalogue=tmp_path / "catalogue",
    )


def stand_in(directory: Path, script: str) -> Path:
    path = directory / "engine-python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def reference(engine: Engine) -> agent_pb2.CatalogueReference:
    return next(found for found in engine.catalogue() if found.model_id == "tiny")


async def deploy(engine: Engine) -> list[agent_pb2.DeployProgress]:
    """Everything that a deployment tells, with the engine looked after meanwhile."""
    running = asyncio.create_task(engine.run())
    try:
        async with asyncio.timeout(30):
            return [progress async for progress in engine.deploy(reference(engine))]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'SafetensorError: Error while deserializing header'; exit 1", "weights are damaged"),
        ("echo 'torch.OutOfMemoryError: CUDA out of memory'; exit 1", "out of memory"),
        ("kill -9 $$", "SIGKILL"),
        ("exit 7", "status 7"),
    ],
)
async def test_repeated_early_failures_end_with_the_cause(
    settings: EngineSettings, tmp_path: Path, script: str, words: str
) -> None:
    engine = Engine(replace(settings, engine_python=stand_in(tmp_path, script)))
    told = await deploy(engine)
    assert told[-1].phase == agent_pb2.ENGINE_PHASE_FAILED
    assert words in told[-1].detail
    assert "(3 times)" in told[-1].detail
    sample = engine.sample()
    assert (sample.phase, sample.restarts_count) == (agent_pb2.ENGINE_PHASE_FAILED, 2)


async def test_a_missing_engine_environment_fails_at_once(settings: EngineSettings, tmp_path: Path) -> None:
    told = await deploy(Engine(replace(settings, engine_python=tmp_path / "nowhere" / "python")))
    assert told[-1].phase == agent_pb2.ENGINE_PHASE_FAILED
    assert "engine_python" in told[-1].detail


async def test_a_missing_model_directory_fails_at_once(settings: EngineSettings) -> None:
    (settings.models / "tiny" / "config.json").unlink()
    told = await deploy(Engine(settings))
    assert told[-1].phase == agent_pb2.ENGINE_PHASE_FAILED
    assert str(settings.models / "tiny") in told[-1].detail


async def test_a_port_that_another_program_holds_is_told(settings: EngineSettings) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", settings.port))
        listening.listen()
        told = await deploy(Engine(settings))
    assert f"port {settings.port} on 127.0.0.1 is taken" in told[-1].detail


async def test_an_absent_address_is_waited_for(settings: EngineSettings) -> None:
    """The tunnel may come up later, so this is no reason to give up."""
    engine = Engine(replace(settings, address="192.0.2.1"))
    running = asyncio.create_task(engine.run())
    waits = 0
    async with asyncio.timeout(30):
        async for progress in engine.deploy(reference(engine)):
            assert progress.phase != agent_pb2.ENGINE_PHASE_FAILED
            waits += progress.phase == agent_pb2.ENGINE_PHASE_BACKING_OFF
            if waits == 5:
                assert "is the tunnel up?" in progress.detail
                break
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_asking_again_tries_a_failed_model_again(settings: EngineSettings, tmp_path: Path) -> None:
    engine = Engine(
        replace(settings, engine_python=stand_in(tmp_path, f"echo run >> {tmp_path}/runs; exit 1"))
    )
    for _ in range(2):
        assert (await deploy(engine))[-1].phase == agent_pb2.ENGINE_PHASE_FAILED
    assert len((tmp_path / "runs").read_text().split()) == 6


async def test_stopping_ends_what_starts(settings: EngineSettings, tmp_path: Path) -> None:
    engine = Engine(replace(settings, engine_python=stand_in(tmp_path, "sleep 600 & sleep 600")))
    running = asyncio.create_task(engine.run())
    async with asyncio.timeout(30):
        told: AsyncIterator[agent_pb2.DeployProgress] = engine.deploy(reference(engine))
        while (await anext(told)).progress_percent == 0:
            pass
        started = Memory(settings.state).running()
        assert started is not None
        await engine.stop(grace_ms=100)
        assert [progress.phase async for progress in told][-1] == agent_pb2.ENGINE_PHASE_STOPPED
    assert session_members(started.process) == []
    assert Memory(settings.state).running() is None
    assert not Memory(settings.state).desired().model_id
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_model_of_another_digest_changes_nothing(settings: EngineSettings) -> None:
    engine = Engine(settings)
    asked = agent_pb2.CatalogueReference(model_id="tiny", digest="0" * 64)
    with pytest.raises(NotInCatalogue):
        await anext(engine.deploy(asked))
    assert not Memory(settings.state).desired().model_id


async def test_two_daemons_do_not_share_an_engine(settings: EngineSettings) -> None:
    first, second = Engine(settings), Engine(settings)
    running = asyncio.create_task(first.run())
    await asyncio.sleep(0)
    with pytest.raises(EngineInUse, match="another daemon"):
        await second.run()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
