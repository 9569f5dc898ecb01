"""The quickstart's marked blocks, run in their order against a control plane that runs."""

import shlex
import subprocess
from pathlib import Path

import httpx2
import pytest

from tests.support.control_plane import ControlPlane, free_ports, serving
from tests.support.guide import DOCS, blocks, run
from tests.support.programs import script

PAGE = DOCS / "quickstart.md"
ENROL_TIMEOUT_S = 60
_HOSTS = "daalu-agent enrol invite --name gpu-1"


def test_the_quickstarts_blocks_work_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    init, tenant, model, record = blocks(PAGE, "sh")
    plane = ControlPlane(tmp_path / "data", *free_ports(2))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAALU_DATA", str(plane.data))
    for line in init.splitlines():
        run(line)
    monkeypatch.setenv("DAALU_URL", plane.tls_url)
    with serving(plane, *plane.place):
        for line in tenant.splitlines():
            run(line)
        key = (tmp_path / "laptop.key").read_text().strip()
        models = httpx2.get(f"{plane.plain_url}/v1/models", headers={"authorization": f"Bearer {key}"})
        assert models.status_code == 200
        # The host's part, on this machine and without a tunnel.
        assert f"bin/{_HOSTS}\n" in PAGE.read_text()
        program, *words = shlex.split(_HOSTS)
        subprocess.run(
            [script(program), *words, "--direct", "--state", tmp_path / "host"],
            check=True,
            timeout=ENROL_TIMEOUT_S,
        )
        agents, fit = [run(line) for line in model.splitlines()]
        assert "gpu-1" in agents
        assert "qwen3-8b" in fit
        for line in record.splitlines():
            run(line)


def test_the_files_that_it_installs_from_are_there() -> None:
    words = PAGE.read_text().split()
    files = {name for name in words if name.endswith(".lock")}
    assert files == {"control-plane.lock", "agent.lock", "build.lock", "engine-cuda.lock"}
    for name in files:
        assert (DOCS.parent / name).is_file(), name
