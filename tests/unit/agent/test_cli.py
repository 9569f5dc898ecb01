"""The command line and the settings agree on names."""

import errno
import os
from pathlib import Path

import pytest

from agent import cli
from agent.config import NAMES, load_config
from agent.identity import State, write_atomically
from agent.main import main
from tests.support.agent_state import enrolled


def test_every_setting_has_a_flag() -> None:
    assert set(cli.given_settings(cli.parse(["status"]))) == set(NAMES)


def test_flags_reach_the_settings() -> None:
    given = cli.parse(["run", "--state", "/x", "--rpc-port", "1", "--engine-environment", "A=1"])
    config = load_config(None, {}, cli.given_settings(given))
    assert (str(config.state), config.rpc_port, config.engine_environment) == ("/x", 1, {"A": "1"})


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon"])
def test_a_senseless_timeout_is_wrong_usage(value: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.parse(["enrol", "x", "--timeout", value])


def test_a_bad_setting_is_one_line_and_exit_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--rpc-port", "x"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_what_is_no_invite_is_said_without_repeating_it(
    capsys: pytest.CaptureFixture[str], tmp_path: object
) -> None:
    assert main(["enrol", "/no/such/file", "--state", f"{tmp_path}/state"]) == 1
    assert capsys.readouterr().err == "daalu-agent: that is neither an invite nor a file that holds one\n"


def test_running_without_being_enrolled_says_what_to_do(
    capsys: pytest.CaptureFixture[str], tmp_path: object
) -> None:
    assert main(["run", "--state", f"{tmp_path}/state"]) == 1
    assert "daalu-agent enrol INVITE" in capsys.readouterr().err


def test_status_and_down_where_there_is_no_agent(
    capsys: pytest.CaptureFixture[str], tmp_path: object
) -> None:
    assert main(["status", "--state", f"{tmp_path}/state"]) == 0
    assert main(["down", "--state", f"{tmp_path}/state"]) == 0
    printed = capsys.readouterr().out
    assert "not enrolled" in printed
    assert "nothing to take down" in printed


def test_status_without_a_daemon_tells_of_the_engine_and_of_a_damaged_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    enrolled(tmp_path / "state", None)
    desired = tmp_path / "state" / "desired.json"
    write_atomically(desired, b'{"model_id": "tiny", "digest": "ab", "drained": false}')
    assert main(["status", "--state", f"{tmp_path}/state"]) == 0
    assert "engine:        stopped, tiny (the daemon starts it)" in capsys.readouterr().out
    write_atomically(desired, b"{")
    assert main(["status", "--state", f"{tmp_path}/state"]) == 0
    assert f"fault:         {desired} is not JSON" in capsys.readouterr().out


def test_a_failing_disk_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/state/lock")

    monkeypatch.setattr(State, "locked", full)
    assert main(["run", "--state", f"{tmp_path}/state"]) == 1
    assert capsys.readouterr().err == "daalu-agent: /state/lock: No space left on device\n"
