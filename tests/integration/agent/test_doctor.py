"""`daalu-agent doctor`, on hosts in several states."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.nvml.stub import Stub

DRIVER_NOT_LOADED = 9


def _doctor(
    state: Path, *flags: str, environment: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "agent", "doctor", "--state", str(state), *flags],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def stub(tmp_path: Path) -> Stub:
    stub = Stub(tmp_path)
    stub.install()
    return stub


def test_a_host_that_is_not_enrolled_is_looked_over_all_the_same(tmp_path: Path) -> None:
    result = _doctor(tmp_path / "none", "--simulated-card", "RTX 2000 Ada")
    assert result.returncode == 0
    assert "n/a   NVIDIA driver: a simulated card stands in for a driver\n" in result.stdout
    assert "n/a   tunnel: this host is not enrolled\n      daalu-agent enrol INVITE\n" in result.stdout
    assert not (tmp_path / "none").exists()


def test_a_host_without_a_driver_fails_and_says_what_to_do(tmp_path: Path) -> None:
    result = _doctor(tmp_path / "none")
    assert result.returncode == 1
    assert "FAIL  NVIDIA driver: the NVIDIA driver's library (libnvidia-ml.so.1) is not on" in result.stdout
    assert "install the NVIDIA driver" in result.stdout


def test_a_real_drivers_calls_are_judged(tmp_path: Path, stub: Stub) -> None:
    stub.behave({"temperature": 91, "ecc_uncorrected": 2})
    result = _doctor(tmp_path / "none", environment=stub.environment())
    assert result.returncode == 1
    assert "pass  NVIDIA driver: driver " in result.stdout
    assert "FAIL  ECC memory: card 0: " in result.stdout
    assert "FAIL  clocks and temperature: card 0: " in result.stdout
    assert "91 °C" in result.stdout


def test_a_driver_that_is_not_loaded_says_so(tmp_path: Path, stub: Stub) -> None:
    stub.behave({"nvmlInitWithFlags": DRIVER_NOT_LOADED})
    result = _doctor(tmp_path / "none", environment=stub.environment())
    assert "FAIL  NVIDIA driver: the NVIDIA driver is installed and not loaded\n" in result.stdout
    assert "`modprobe nvidia`" in result.stdout
