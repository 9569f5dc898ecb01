"""The operator's guide, run from its first block to its last against a control plane that runs."""

import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.control_plane import ControlPlane, free_ports, serving
from tests.support.programs import script

PAGE = Path(__file__).parents[3] / "docs" / "operator.md"
_RUN = re.compile(r"^\*run\*\n\n```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCK_TIMEOUT_S = 60


class _Shell:
    """An operator's terminal: in a directory of its own, the product's programs on its path."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self.directory = directory
        path = f"{Path(script('daalu')).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = {**os.environ, **environment, "PATH": path}

    def run(self, commands: str) -> str:
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=self.directory,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=BLOCK_TIMEOUT_S,
        )
        assert result.returncode == 0, f"{commands}\n{result.stdout}{result.stderr}"
        return result.stdout


def _blocks() -> list[str]:
    return [found[1] for found in _RUN.finditer(PAGE.read_text())]


def test_the_guides_blocks_work_in_their_order(tmp_path: Path) -> None:
    init, *blocks = _blocks()
    plane = ControlPlane(tmp_path / "data", *free_ports(2))
    environment = {"DAALU_DATA": str(plane.data)}
    _Shell(tmp_path, environment).run(init)
    # What a machine of its own would have: the public name, and the ports.
    flags = ["--public-url", plane.tls_url, "--listen", f"127.0.0.1:{plane.tls_port}"]
    flags += ["--listen-plain", f"127.0.0.1:{plane.plain_port}", "--allow-direct"]
    shell = _Shell(tmp_path, environment | {"DAALU_URL": plane.tls_url})
    with serving(plane, *flags):
        for block in blocks:
            if "daalu agents list" in block:
                _enrol(shell)
            shell.run(block)
            if "daalu subscriptions start" in block:
                _check_what_was_made(shell)
        agents = json.loads(shell.run("daalu agents list --revoked --json"))
        assert [(each["name"], each["revoked_unix_ms"] is not None) for each in agents] == [("alpha", True)]


def _enrol(shell: _Shell) -> None:
    """The owner's part, on this machine: the guide's command, without a tunnel."""
    owners = "daalu-agent enrol invite --name alpha"
    assert owners in PAGE.read_text()
    shell.run(f"{owners} --direct --state {shell.directory}/host")


def _check_what_was_made(shell: _Shell) -> None:
    pool = json.loads(shell.run("daalu pools show shared --json"))
    assert [card["agent_name"] for card in pool["cards"]] == ["alpha"]
    assert [price["output_micro_usd_per_mtok"] for price in pool["prices"]] == [400_000]
    assert pool["share_basis_points"] == 7_000
    roles = {
        tenant: json.loads(shell.run(f"daalu tenants policy {tenant} --json"))["role"]
        for tenant in ("acme", "lender", "house")
    }
    assert roles == {"acme": "consumer", "lender": "provider", "house": "none"}


def test_a_block_fails_at_its_first_command_that_does(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no data directory|is not there"):
        _Shell(tmp_path, {"DAALU_DATA": str(tmp_path / "none")}).run("daalu tenants list\ntrue\n")


def test_every_marked_block_is_found() -> None:
    assert len(_blocks()) == PAGE.read_text().count("*run*\n") > 5
