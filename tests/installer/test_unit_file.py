"""The unit as systemd reads it, without a running systemd. tests/installer/test_install.py runs it."""

import subprocess

import pytest

from tests.support.machine import ROOT

pytestmark = pytest.mark.debian

UNIT = ROOT / "installer" / "daalu-agent.service"
# systemd's own measure, times ten: 0 is safest, 100 is open.
EXPOSURE_LIMIT = 25


def _analyze(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60)


def test_its_exposure_is_small() -> None:
    result = _analyze("security", "--offline=yes", f"--threshold={EXPOSURE_LIMIT}", str(UNIT))
    assert result.returncode == 0, result.stdout


def test_systemd_understands_every_line() -> None:
    """All but the program, which is not on this machine."""
    result = _analyze("verify", str(UNIT))
    complaints = [line for line in result.stderr.splitlines() if "daalu-agent" in line]
    assert all("is not executable" in line for line in complaints), result.stderr


@pytest.mark.parametrize(
    "line",
    [
        "KillMode=process",
        "Restart=on-failure",
        "OOMPolicy=continue",
        "Type=notify",
        "RuntimeDirectoryPreserve=yes",
    ],
)
def test_what_stopping_the_agent_needs_is_there(line: str) -> None:
    """docs/decisions/stopping-the-agent.md"""
    assert line in UNIT.read_text().splitlines()


@pytest.mark.parametrize(
    "name", ["ExecStop=", "PrivateTmp=", "PrivateNetwork=", "DynamicUser=", "MemoryMax="]
)
def test_what_the_engine_would_suffer_from_is_not_there(name: str) -> None:
    assert not any(line.startswith(name) for line in UNIT.read_text().splitlines())
