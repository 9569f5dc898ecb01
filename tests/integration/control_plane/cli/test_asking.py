"""What ends something for good asks first."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator

import pytest

from control_plane.store import Store
from tests.support.control_plane import ControlPlane, initialised, serving
from tests.support.economy import add_economy


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    plane = initialised(tmp_path_factory.mktemp("plane") / "data")
    with serving(plane):
        plane.daalu("tenants", "create", "acme")
        store = Store(f"sqlite:///{plane.data / 'daalu.db'}")
        store.write_now(add_economy)
        store.close()
        yield plane


def _key(plane: ControlPlane, name: str) -> str:
    made = plane.daalu("keys", "create", name, "--tenant", "acme", "--json")
    return str(json.loads(made.stdout)["key"]["id"])


def _revoked(plane: ControlPlane, key_id: str) -> bool:
    keys = json.loads(plane.daalu("keys", "list", "--json").stdout)
    return any(key["id"] == key_id and key["revoked_unix_ms"] is not None for key in keys)


def _answering(plane: ControlPlane, answer: bytes, *arguments: str) -> int:
    """The exit code of a command whose standard input is a terminal on which `answer` is typed."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, answer)
        return subprocess.run(
            [sys.executable, "-c", "from control_plane.cli import main; main()", *arguments],
            stdin=theirs, capture_output=True, timeout=60, env=os.environ | {"DAALU_DATA": str(plane.data)},
        ).returncode  # fmt: skip
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize(
    "command",
    [
        ("keys", "revoke", "key-none"),
        ("models", "stop", "--agent", "nobody"),
        ("subscriptions", "end", "sub-none"),
        ("ledger", "reverse", "call-none"),
        ("statements", "mark-paid", "acme", "2026-11"),
        ("providers", "clear", "nobody"),
    ],
)
def test_where_nobody_can_be_asked_nothing_is_done_without_yes(
    plane: ControlPlane, command: tuple[str, ...]
) -> None:
    refused = plane.daalu(*command)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "nobody can be asked here" in refused.stderr
    assert "--yes" in refused.stderr
    assert "nobody can be asked" not in plane.daalu(*command, "--yes").stderr


def test_the_answer_on_a_terminal_decides(plane: ControlPlane) -> None:
    key_id = _key(plane, "asked")
    assert _answering(plane, b"n\n", "keys", "revoke", key_id) == 1
    assert _answering(plane, b"\n", "keys", "revoke", key_id) == 1
    assert not _revoked(plane, key_id)
    assert _answering(plane, b"y\n", "keys", "revoke", key_id) == 0
    assert _revoked(plane, key_id)


def test_yes_answers_where_nobody_is(plane: ControlPlane) -> None:
    key_id = _key(plane, "unasked")
    assert plane.daalu("keys", "revoke", key_id, "--yes").returncode == 0
    assert _revoked(plane, key_id)


def test_the_question_names_the_agent_that_would_be_revoked(plane: ControlPlane) -> None:
    asked = plane.daalu("agents", "revoke", "agt-second")
    assert (asked.returncode, asked.stdout) == (1, "")
    assert "Revoke agt-second (agt-second) of provider?" in asked.stderr
    shown = json.loads(plane.daalu("agents", "show", "agt-second", "--json").stdout)
    assert shown["revoked_unix_ms"] is None
    assert (
        plane.daalu("agents", "revoke", "agt-second", "--yes").stdout == "revoked agt-second (agt-second)\n"
    )
    shown = json.loads(plane.daalu("agents", "show", "agt-second", "--json").stdout)
    assert shown["revoked_unix_ms"] is not None
