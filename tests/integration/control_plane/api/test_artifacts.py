"""A release as the control plane serves it: byte for byte what is signed, and nothing beside it."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import update
from sqlmodel import col

from control_plane.store import Store
from control_plane.store.tables import Agent
from installer.release import new_key, sign, write_manifest
from tests.support.control_plane import ControlPlane, daalu, initialised, serving
from tests.support.economy import add_economy

ROOT = Path(__file__).parents[4]
SCRIPT = b"#!/bin/sh\ntrue\n"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("made")
    directory = made / "release"
    directory.mkdir()
    (directory / "install.sh").write_bytes(SCRIPT)
    (directory / "big.whl").write_bytes(bytes(range(256)) * 20_000)
    write_manifest(directory, "0.1.0", 1_800_000_000)
    new_key(made / "key")
    sign(directory, made / "key")
    (directory / "beside").write_text("not in the manifest")
    return directory


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory, release: Path) -> Iterator[ControlPlane]:
    plane = initialised(tmp_path_factory.mktemp("plane") / "data", "--artifacts", str(release))
    with serving(plane):
        yield plane


def test_every_file_of_the_release_is_served_whole(plane: ControlPlane, release: Path) -> None:
    for name in ("install.sh", "big.whl", "manifest", "manifest.sig", "release.pub"):
        answer = httpx2.get(f"{plane.plain_url}/install/{name}")
        assert (answer.status_code, answer.content) == (200, (release / name).read_bytes())


@pytest.mark.parametrize("path", ["beside", "", "..", "%2e%2e", "..%2frelease.key", "%2fetc%2fpasswd", "key"])
def test_nothing_else_is(plane: ControlPlane, path: str) -> None:
    answer = httpx2.get(f"{plane.plain_url}/install/{path}")
    assert answer.status_code == 404


def test_the_operator_gets_the_line_and_can_have_it_checked(plane: ControlPlane, release: Path) -> None:
    plane.daalu("tenants", "create", "acme")
    result = plane.daalu("agents", "invite", "--tenant", "acme")
    assert result.stdout.startswith("curl -fsSk --pinnedpubkey sha256//")
    assert result.stdout.count("\n") == 1
    assert "pasted on the GPU host" in result.stderr
    key = (release / "release.pub").read_text().strip()
    checked = plane.daalu("agents", "invite", "--tenant", "acme", "--release-key", key, "--json")
    assert key in json.loads(checked.stdout)["install_line"]
    other = "A" * 43 + "="
    refused = plane.daalu("agents", "invite", "--tenant", "acme", DAALU_RELEASE_KEY=other)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "is not signed with the key" in refused.stderr


def test_an_agent_of_another_version_is_told_how_it_is_upgraded(plane: ControlPlane, release: Path) -> None:
    store = Store(f"sqlite:///{plane.data / 'daalu.db'}")
    store.write_now(add_economy)
    older = update(Agent).where(col(Agent.id) == "agt-second").values(agent_version="0.0.9")
    store.write_now(lambda session: session.exec(older))
    store.close()
    same = plane.daalu("agents", "upgrade", "agt-provider")
    assert (same.returncode, same.stdout) == (0, "agt-provider runs 0.1.0, and 0.1.0 is offered\n")
    other = plane.daalu("agents", "upgrade", "agt-second").stdout.splitlines()
    assert other == [
        "agt-second runs 0.0.9, and 0.1.0 is offered",
        "on its host:  sudo /opt/daalu-agent/install.sh",
    ]
    found = json.loads(plane.daalu("agents", "upgrade", "agt-second", "--json").stdout)
    assert (found["running_version"], found["offered_version"]) == ("0.0.9", "0.1.0")
    # The path is the one at which the installer leaves itself.
    assert found["command"].removeprefix("sudo ") in (ROOT / "docs" / "installing.md").read_text()
    headers = {"authorization": f"Bearer {plane.token}"}
    served = httpx2.get(f"{plane.plain_url}/api/v1/release", headers=headers).json()
    key = (release / "release.pub").read_text().strip()
    assert served == {"version": "0.1.0", "released_unix_ms": 1_800_000_000_000, "release_key": key}


def test_a_release_that_does_not_agree_with_itself_is_not_served(tmp_path: Path, release: Path) -> None:
    theirs = tmp_path / "release"
    theirs.mkdir()
    for path in release.iterdir():
        (theirs / path.name).write_bytes(path.read_bytes())
    (theirs / "install.sh").write_bytes(SCRIPT + b"# changed\n")
    plane = initialised(tmp_path / "data", "--artifacts", str(theirs))
    result = daalu("serve", "--data", str(plane.data))
    assert result.returncode == 1
    assert "install.sh is not what the manifest names" in result.stderr
