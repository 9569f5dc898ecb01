"""What can be said of the engine while no daemon runs."""

import os
from dataclasses import replace
from pathlib import Path

from daalu_wire.v1 import agent_pb2

from agent.engine import left_behind
from agent.engine.memory import Desired, Memory, RunningEngine
from agent.process import ProcessMark


def test_an_engine_that_runs_on_is_named_with_its_process(tmp_path: Path) -> None:
    me = ProcessMark.of(os.getpid())
    assert me is not None
    running = RunningEngine(me, "tiny", "ab", "127.0.0.1", 7400)
    Memory(tmp_path).set_running(running)
    sample = left_behind(tmp_path)
    assert (sample.phase, sample.model.model_id) == (agent_pb2.ENGINE_PHASE_UNSPECIFIED, "tiny")
    assert str(os.getpid()) in sample.detail
    Memory(tmp_path).set_running(replace(running, process=replace(me, boot_id="another")))
    assert left_behind(tmp_path).phase == agent_pb2.ENGINE_PHASE_STOPPED


def test_a_wanted_model_waits_for_the_daemon(tmp_path: Path) -> None:
    assert left_behind(tmp_path) == agent_pb2.EngineSample(phase=agent_pb2.ENGINE_PHASE_STOPPED)
    Memory(tmp_path).set_desired(Desired("tiny", "ab"))
    sample = left_behind(tmp_path)
    assert (sample.model.model_id, sample.detail) == ("tiny", "the daemon starts it")
