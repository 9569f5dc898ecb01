"""The state files of the engine room."""

import json
import stat
from pathlib import Path

import pytest
from daalu_wire.v1 import agent_pb2, catalogue_pb2

from agent.engine.memory import Desired, Memory, RunningEngine
from agent.identity import StateError
from agent.process import ProcessMark


def test_what_is_desired_survives(tmp_path: Path) -> None:
    assert Memory(tmp_path).desired() == Desired()
    Memory(tmp_path).set_desired(Desired("tiny", "ab", drained=True))
    assert Memory(tmp_path).desired() == Desired("tiny", "ab", drained=True)


def test_the_running_engine_survives_and_is_forgotten(tmp_path: Path) -> None:
    running = RunningEngine(ProcessMark(7, 99, "boot"), "tiny", "ab", "127.0.0.1", 7400)
    Memory(tmp_path).set_running(running)
    assert Memory(tmp_path).running() == running
    Memory(tmp_path).set_running(None)
    assert Memory(tmp_path).running() is None


@pytest.mark.parametrize("name", ["desired.json", "engine.json"])
@pytest.mark.parametrize("content", ["{", "[]", '{"surprise": 1}', "null"])
def test_a_damaged_file_is_named_with_a_way_out(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    (tmp_path / name).chmod(0o600)
    with pytest.raises(StateError, match=name):
        print(Memory(tmp_path).desired(), Memory(tmp_path).running())


def test_the_daemons_own_key_is_made_once_and_outlives_new_ones(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    local = memory.prepare()
    memory.set_ticket_keys(local, [agent_pb2.TicketKey(id=2, key=b"\2" * 32)])
    assert Memory(tmp_path).prepare() == local
    path = tmp_path / "gate" / "ticket-keys.json"
    assert [key["id"] for key in json.loads(path.read_text())["keys"]] == [0, 2]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_gate_is_installed_whole(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    memory.prepare()
    for _ in range(2):
        memory.install_gate(catalogue_pb2.Model(served_name="tiny-random", max_running_calls=4))
    names = {path.name for path in (tmp_path / "gate" / "daalu_gate").iterdir()}
    assert {"__init__.py", "middleware.py", "journal.py", "ticket.py", "usage.py"} <= names
    config = json.loads((tmp_path / "gate" / "config.json").read_text())
    assert (config["served_name"], config["max_running_calls"]) == ("tiny-random", 4)


def test_the_last_logs_are_kept(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    for number in range(6):
        memory.turn_log()
        memory.log.write_text(str(number))
    kept = [path.read_text() for path in sorted(tmp_path.glob("engine.log*"))]
    assert kept == ["5", "4", "3", "2"]
    assert memory.log_tail() == "5"
