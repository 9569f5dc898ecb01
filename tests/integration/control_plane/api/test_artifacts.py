"""A release as the control plane serves it: byte for byte what is signed, and nothing beside it."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from installer.release import new_key, sign, write_manifest
from tests.support.control_plane import ControlPlane, daalu, initialised, serving

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
