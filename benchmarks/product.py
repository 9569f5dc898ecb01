"""The product under measurement: `daalu init`, `daalu serve`, one agent whose engine is the upstream."""

import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.agent import MODEL
from benchmarks.programs import LOAD_CORE, MEASURED_CORE, python, running, wait_until
from tests.support.control_plane import free_ports

_DAALU = python("-c", "from control_plane.cli import main; main()")


@dataclass(frozen=True, slots=True)
class Proxy:
    """What stands between client and upstream: where it listens, what it wants to be asked with."""

    name: str
    port: int
    pid: int
    key: str = "none"
    model: str = MODEL


@contextmanager
def serving(directory: Path, engine_port: int, *, has_card: bool = False) -> Iterator[Proxy]:
    """Everything on, as installed: HTTPS and plain listener, SQLite with synchronous=FULL. `has_card`: its
    host has one, whose readings change."""
    tls, plain = free_ports(2)
    data = directory / "control-plane"
    subprocess.run(
        [*_DAALU, "init", "--data", str(data), "--public-url", f"https://localhost:{tls}",
         "--listen", f"127.0.0.1:{tls}", "--listen-plain", f"127.0.0.1:{plain}", "--allow-direct"],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    log = directory / "daalu.log"
    agent = python("-m", "benchmarks.agent", str(data), str(engine_port), *(["--card"] if has_card else []))
    with (
        running([*_DAALU, "serve", "--data", str(data)], MEASURED_CORE, log) as process,
        running(agent, LOAD_CORE, log) as agent_process,
    ):
        assert agent_process.stdout is not None
        key = agent_process.stdout.readline().strip()
        proxy = Proxy("daalu", plain, process.pid, key)
        wait_until(lambda: _answers(proxy), f"the product answers (see {log})")
        yield proxy


@contextmanager
def sibling(directory: Path, first: Proxy) -> Iterator[Proxy]:
    """A second process over the same data directory, on the same core as the first."""
    tls, plain = free_ports(2)
    command = [*_DAALU, "serve", "--data", str(directory / "control-plane")]
    command += ["--listen", f"127.0.0.1:{tls}", "--listen-plain", f"127.0.0.1:{plain}"]
    log = directory / "sibling.log"
    with running(command, MEASURED_CORE, log) as process:
        proxy = Proxy("sibling", plain, process.pid, first.key)
        wait_until(lambda: _answers(proxy), f"the second process answers (see {log})")
        yield proxy


def _answers(proxy: Proxy) -> bool:
    request = urllib.request.Request(
        f"http://127.0.0.1:{proxy.port}/v1/models", headers={"authorization": f"Bearer {proxy.key}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return f'"{proxy.model}"'.encode() in answer.read()
    except (urllib.error.URLError, ConnectionError):
        return False
