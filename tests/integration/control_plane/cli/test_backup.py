"""`daalu backup` and `daalu restore`, of a control plane that serves an agent."""

import json
import re
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import postgresql
from tests.support.control_plane import ControlPlane, daalu, initialised, serving
from tests.support.direct_agent import enrolled, wait_until_live


def _agent(plane: ControlPlane) -> tuple[str, str]:
    (agent,) = json.loads(plane.daalu("agents", "list", "--json").stdout)
    return agent["id"], agent["name"]


# Two starts of a control plane, one of an agent, and five commands.
@pytest.mark.timeout(240)
def test_a_running_control_plane_comes_up_elsewhere_and_its_agent_knows_it(tmp_path: Path) -> None:
    plane, file = initialised(tmp_path / "data", "--allow-direct"), tmp_path / "b.tar"
    elsewhere = ControlPlane(tmp_path / "elsewhere", plane.tls_port, plane.plain_port)
    with ExitStack() as stack:
        with serving(plane):
            agent = enrolled(plane, tmp_path / "host", tenant="lender", name="alpha")
            # It outlives the control plane, as after a fire there.
            stack.enter_context(agent.running())
            wait_until_live(plane, "alpha")
            before = _agent(plane)
            made = plane.daalu("backup", str(file))
            assert made.returncode == 0, made.stderr
            words = rf"made {file}: 10 files, [\d,]+ bytes\. It holds every key: keep it secret\n"
            assert re.fullmatch(words, made.stdout)
            refused = daalu("restore", str(file), "--data", str(plane.data))
            assert (refused.returncode, refused.stdout) == (1, "")
            assert refused.stderr.startswith("daalu: nothing was changed: ")
            assert "stop `daalu serve` and `daalu hub` there first" in refused.stderr
            assert refused.stderr.count("\n") == 1
        restored = daalu("restore", str(file), "--data", str(elsewhere.data))
        assert restored.returncode == 0, restored.stderr
        assert f"restored {elsewhere.data} as it was on " in restored.stdout
        end = f"the ledger is in order; next: daalu serve --data {elsewhere.data}\n"
        assert restored.stdout.endswith(end)
        with serving(elsewhere):
            wait_until_live(elsewhere, "alpha")
            assert _agent(elsewhere) == before
            assert elsewhere.daalu("ledger", "verify").stdout == "the ledger is in order\n"
            assert elsewhere.token == plane.token


def test_a_backup_as_json_says_what_is_in_it(tmp_path: Path) -> None:
    plane = initialised(tmp_path / "data")
    found = json.loads(plane.daalu("backup", str(tmp_path / "b.tar"), "--json").stdout)
    assert found["schema"].isdecimal()
    assert found["elsewhere"] == {}
    assert {entry["name"] for entry in found["entries"]} > {"daalu.db", "authority/root.key", "config.toml"}
    again = json.loads(
        daalu("restore", str(tmp_path / "b.tar"), "--data", str(tmp_path / "other"), "--json").stdout
    )
    assert again == found


def test_a_backup_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    result = daalu("backup", str(tmp_path / "b.tar"), "--data", str(tmp_path / "nothing"))
    assert result.returncode == 1
    assert "is not there: run `daalu init" in result.stderr
    (tmp_path / "b.tar").write_bytes(b"no backup")
    result = daalu("restore", str(tmp_path / "b.tar"), "--data", str(tmp_path / "nothing"))
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "is no backup, or is cut short" in result.stderr
    assert not (tmp_path / "nothing").exists()


@pytest.mark.postgresql
def test_with_postgresql_its_own_tool_is_named_and_the_command_works(tmp_path: Path) -> None:
    if reason := postgresql.missing_reason():
        pytest.skip(reason)
    with postgresql.running() as server:
        url = server.create_database()
        plane = initialised(tmp_path / "data", "--database-url", url)
        result = plane.daalu("backup", str(tmp_path / "b.tar"))
        assert (result.returncode, (tmp_path / "b.tar").exists()) == (1, False)
        found = re.search(r"(pg_dump .*); keys and settings beside it: (tar .*)\n", result.stderr)
        assert found is not None, result.stderr
        for command in found.groups():
            subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    assert (tmp_path / "daalu.dump").read_bytes().startswith(b"PGDMP")
    listed = subprocess.run(
        ["tar", "--list", "--file", tmp_path / "daalu-keys.tar"], capture_output=True, text=True, check=True
    )
    assert {"./config.toml", "./authority/root.key", "./ticket-secret"} < set(listed.stdout.split())
