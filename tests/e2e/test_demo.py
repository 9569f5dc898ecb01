"""scripts/demo shows a real answer, and leaves nothing behind however it ends."""

import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.machine import ROOT, cache
from tests.support.programs import exists

DEMO = ROOT / "scripts" / "demo"
# A warm run is promised within two minutes on two cores of its own; a first one fetches the model too.
RUN_TIMEOUT_S = 480
END_TIMEOUT_S = 60


def _traces() -> dict[str, list[str]]:
    """What a demo could leave on this machine."""

    def lines(*command: str) -> list[str]:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    return {
        "namespaces": sorted(path.name for path in Path("/run/netns").glob("*")),
        "interfaces": sorted(path.name for path in Path("/sys/class/net").iterdir()),
        "rules": lines("nft", "list", "ruleset"),
        "files": sorted(path.name for path in Path(tempfile.gettempdir()).glob("daalu-*")),
        "sockets": sorted(path.name for path in Path("/var/run/wireguard").glob("*")),
        "programs": sorted(_programs()),
    }


def _programs() -> Iterator[str]:
    """Programs of this product that run now, by what their command lines name."""
    for path in Path("/proc").iterdir():
        if not path.name.isdecimal() or not exists(int(path.name)):
            continue
        try:
            command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if any(word in command for word in ("daalu", "vllm.entrypoints", "wireguard-go", "VLLM::")):
            yield f"{path.name} {command}"


@pytest.fixture
def before() -> dict[str, list[str]]:
    return _traces()


def _assert_nothing_is_left(before: dict[str, list[str]]) -> None:
    after = _traces()
    left = {name: sorted(set(after[name]) - set(before[name])) for name in after}
    assert not any(left.values()), left


def _start(*arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "DAALU_CACHE": str(cache())}
    return subprocess.Popen(
        [DEMO, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,
    )


def test_once_prints_a_real_answer_and_leaves_nothing(before: dict[str, list[str]]) -> None:
    with _start("--once") as demo:
        output, _ = demo.communicate(timeout=RUN_TIMEOUT_S)
    assert demo.returncode == 0, output
    assert "Paris" in output
    assert "SIMULATED" in output
    assert "tier own" in output
    _assert_nothing_is_left(before)


@pytest.mark.parametrize("step", ["1. ", "2. ", "3. "])
def test_an_interrupted_demo_leaves_nothing(before: dict[str, list[str]], step: str) -> None:
    with _start() as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if line.startswith(step):
                break
        os.killpg(demo.pid, signal.SIGINT)
        # As an impatient person does.
        os.killpg(demo.pid, signal.SIGINT)
        output, _ = demo.communicate(timeout=END_TIMEOUT_S)
    assert demo.returncode == 130, output
    assert "nothing is left behind" in output
    _assert_nothing_is_left(before)


def test_it_stays_up_until_it_is_interrupted(before: dict[str, list[str]]) -> None:
    with _start() as demo:
        assert demo.stdout is not None
        seen = ""
        for line in demo.stdout:
            seen += line
            if "Ctrl-C" in line:
                break
        assert "curl http" in seen, seen
        with socket.create_connection(("127.0.0.1", 8080), timeout=5):
            pass
        os.killpg(demo.pid, signal.SIGINT)
        demo.communicate(timeout=END_TIMEOUT_S)
    assert demo.returncode == 0
    _assert_nothing_is_left(before)


def test_a_port_in_use_is_one_line_and_nothing_was_changed(before: dict[str, list[str]]) -> None:
    with socket.create_server(("0.0.0.0", 8443)), _start("--once") as demo:
        output, _ = demo.communicate(timeout=END_TIMEOUT_S)
    assert demo.returncode == 1
    assert output.splitlines() == [
        "demo: TCP port 8443 cannot be used (Address already in use): stop what uses it, then try again"
    ]
    _assert_nothing_is_left(before)
