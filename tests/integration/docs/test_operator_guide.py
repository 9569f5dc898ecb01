"""The operator's guide, run from its first block to its last against a control plane that runs."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.support.control_plane import ControlPlane, free_ports, serving
from tests.support.guide import DOCS, blocks, run
from tests.support.programs import script

PAGE = DOCS / "operator.md"
ENROL_TIMEOUT_S = 60
_OWNERS = "daalu-agent enrol invite --name alpha"


def test_the_guides_blocks_work_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    init, *others = blocks(PAGE, "sh")
    plane = ControlPlane(tmp_path / "data", *free_ports(2))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAALU_DATA", str(plane.data))
    for line in init.splitlines():
        run(line)
    monkeypatch.setenv("DAALU_URL", plane.tls_url)
    with serving(plane, *plane.place):
        for block in others:
            if "daalu agents list" in block:
                _enrol(tmp_path)
            for line in block.splitlines():
                run(line)
            if "daalu subscriptions start" in block:
                _check_what_was_made()
        agents = json.loads(run("daalu agents list --revoked --json"))
        assert [(each["name"], each["revoked_unix_ms"] is not None) for each in agents] == [("alpha", True)]


def _enrol(directory: Path) -> None:
    """The owner's part, on this machine: the guide's command, without a tunnel."""
    assert f"\n{_OWNERS}\n" in PAGE.read_text()
    program, *words = shlex.split(_OWNERS)
    subprocess.run(
        [script(program), *words, "--direct", "--state", directory / "host"],
        check=True,
        timeout=ENROL_TIMEOUT_S,
    )


def _check_what_was_made() -> None:
    pool = json.loads(run("daalu pools show shared --json"))
    assert [card["agent_name"] for card in pool["cards"]] == ["alpha"]
    assert [price["output_micro_usd_per_mtok"] for price in pool["prices"]] == [400_000]
    assert pool["share_basis_points"] == 7_000
    tenants = ("acme", "lender", "house")
    roles = [json.loads(run(f"daalu tenants policy {tenant} --json"))["role"] for tenant in tenants]
    assert roles == ["consumer", "provider", "none"]


def test_there_are_blocks_to_run() -> None:
    assert len(blocks(PAGE, "sh")) > 5
