"""A large fleet on one control plane: what it costs, whether a sample is lost, how soon a page is there.

    python -m benchmarks.fleet DIRECTORY [AGENTS [SECONDS_BETWEEN_SAMPLES [SECONDS_WATCHED]]]

Prints one JSON object. The control plane is `daalu serve`, alone in its process; the agents are others', each
with a gRPC server, a certificate and a loopback address of its own.
"""

import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx2

from benchmarks.programs import (
    LOAD_CORE,
    CannotMeasure,
    cpu_s,
    memory_kib,
    peak_memory_kib,
    python,
    running,
)
from control_plane.fleet.telemetry import Wanted, read_history
from control_plane.identifiers import AgentId, TenantId
from control_plane.store import unix_ms
from tests.support.control_plane import ControlPlane, initialised, serving
from tests.support.fleet_crowd import NUMBERED_READING

AGENTS = 1_000
EVERY_S = 5.0
WATCHED_S = 60.0
# Until the last of 1,000 has sent a sample it takes half a minute on a busy machine.
CONNECT_S = 300.0
# After all are connected, before it is watched.
SETTLE_S = 10.0
ASKED = 20
REQUEST_TIMEOUT_S = 60.0
HOUR_MS = 3_600_000
KIB = 1024
# More than there are samples: they are wanted as they came.
POINTS = 20_000


@dataclass(frozen=True, slots=True)
class Page:
    """CPU is the control plane's, above what it needs while nobody asks."""

    cpu_ms: float
    p50_ms: float
    worst_ms: float
    kib: float


@dataclass(frozen=True, slots=True)
class Figures:
    agents: int
    every_s: float
    # To dial, verify and know all agents.
    connecting_cpu_s: float
    core_share: float
    # Millions of bytes, resident.
    memory_mb: float
    peak_memory_mb: float
    samples_per_s: float
    sent: int
    stored: int
    # Of which agents, by the numbers that samples carry.
    lost: int
    pages: dict[str, Page]


class Crowd:
    """The other process, asked line by line."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def connected(self) -> None:
        """Waits for it. Raises CannotMeasure."""
        if self._answer() != "connected":
            raise CannotMeasure("the agents did not start; crowd.log has the details")

    def sent(self, *, end: bool = False) -> dict[str, int]:
        assert self._process.stdin is not None
        self._process.stdin.write("end\n" if end else "count\n")
        self._process.stdin.flush()
        return dict(json.loads(self._answer()))

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def measure(directory: Path, agents: int, every_s: float, watched_s: float) -> Figures:
    """Raises CannotMeasure."""
    plane = initialised(directory / "control-plane")
    command = python("-m", "benchmarks.crowd", str(plane.data), str(agents), str(every_s))
    with serving(plane) as process:
        before_s = cpu_s(process.pid)
        with running(command, LOAD_CORE, directory / "crowd.log", talkative=True) as other:
            crowd = Crowd(other)
            crowd.connected()
            with _client(plane) as client:
                tenants = _all_live(client, agents)
                connecting_s = cpu_s(process.pid) - before_s
                time.sleep(SETTLE_S)
                share, per_s = _watch(process.pid, crowd, watched_s)
                pages = {
                    name: _ask(client, process.pid, share, path)
                    for name, path in _pages(sorted(tenants)).items()
                }
                # After the pages, which leave something behind.
                memory_kib_now, peak_kib = memory_kib(process.pid), peak_memory_kib(process.pid)
            sent = crowd.sent(end=True)
            # Ends here, before the agents do: what it has heard is then in the file.
            process.terminate()
            process.wait(60)
    stored = {agent: _stored(plane, tenants[agent], agent) for agent in sent}
    lost = sum(_missing(stored[agent], count) for agent, count in sent.items())
    return Figures(
        agents=agents,
        every_s=every_s,
        connecting_cpu_s=connecting_s,
        core_share=share,
        memory_mb=memory_kib_now * KIB / 1e6,
        peak_memory_mb=peak_kib * KIB / 1e6,
        samples_per_s=per_s,
        sent=sum(sent.values()),
        stored=sum(map(len, stored.values())),
        lost=lost,
        pages=pages,
    )


def _client(plane: ControlPlane) -> httpx2.Client:
    return httpx2.Client(
        base_url=plane.plain_url,
        headers={"authorization": f"Bearer {plane.token}"},
        timeout=REQUEST_TIMEOUT_S,
    )


def _all_live(client: httpx2.Client, agents: int) -> dict[str, str]:
    """Every agent's tenant, once all are live. Raises CannotMeasure."""
    deadline = time.monotonic() + CONNECT_S
    while True:
        found = client.get("/api/v1/agents").raise_for_status().json()
        live = [each for each in found if each["liveness"] == "live"]
        if len(live) == agents:
            return {each["id"]: each["tenant_id"] for each in live}
        if time.monotonic() > deadline:
            raise CannotMeasure(f"{len(live)} of {agents} agents were live after {CONNECT_S:g} s")
        time.sleep(1)


def _watch(pid: int, crowd: Crowd, watched_s: float) -> tuple[float, float]:
    """The share of a core, and samples a second, while nobody asks for anything."""
    before = sum(crowd.sent().values())
    began_s, began_cpu_s = time.monotonic(), cpu_s(pid)
    time.sleep(watched_s)
    took_s, took_cpu_s = time.monotonic() - began_s, cpu_s(pid) - began_cpu_s
    return took_cpu_s / took_s, (sum(crowd.sent().values()) - before) / took_s


def _pages(agents: list[str]) -> dict[str, Callable[[], str]]:
    chance = random.Random(4)
    return {
        "agents": lambda: "/api/v1/agents",
        "one agent": lambda: f"/api/v1/agents/{chance.choice(agents)}",
        "telemetry of an hour": lambda: f"/api/v1/agents/{chance.choice(agents)}/telemetry",
        "metrics": lambda: "/metrics",
    }


def _ask(client: httpx2.Client, pid: int, share: float, path: Callable[[], str]) -> Page:
    times, size = [], 0
    began_s, began_cpu_s = time.monotonic(), cpu_s(pid)
    for _ in range(ASKED):
        asked_s = time.monotonic()
        size = len(client.get(path()).raise_for_status().content)
        times.append((time.monotonic() - asked_s) * 1e3)
    idle_s = share * (time.monotonic() - began_s)
    cpu_ms = (cpu_s(pid) - began_cpu_s - idle_s) * 1e3 / ASKED
    return Page(cpu_ms, statistics.median(times), max(times), size / KIB)


def _stored(plane: ControlPlane, tenant_id: str, agent_id: str) -> list[int]:
    """The numbers of the samples that the file has, in order."""
    now = unix_ms()
    wanted = Wanted(
        tenant_id=TenantId(tenant_id),
        agent_id=AgentId(agent_id),
        from_unix_ms=now - HOUR_MS,
        to_unix_ms=now + HOUR_MS,
        most_points=POINTS,
        subject=f"GPU-{agent_id}",
    )
    numbers = [
        number
        for subject in read_history(plane.data / "telemetry.db", wanted).subjects
        for number in subject.values[NUMBERED_READING].mean
    ]
    return [int(number) for number in numbers if number is not None]


def _missing(stored: list[int], sent: int) -> int:
    return len(set(range(1, sent + 1)) - set(stored))


def as_json(figures: Figures) -> str:
    def rounded(value: object) -> object:
        return float(f"{value:.4g}") if isinstance(value, float) else value

    def plain(value: Figures | Page) -> dict[str, object]:
        return {name: rounded(getattr(value, name)) for name in value.__slots__}  # type: ignore[attr-defined]

    return json.dumps(plain(figures) | {"pages": {name: plain(page) for name, page in figures.pages.items()}})


if __name__ == "__main__":
    _given = sys.argv[2:] + [None] * 3  # type: ignore[list-item]
    print(
        as_json(
            measure(
                Path(sys.argv[1]),
                int(_given[0] or AGENTS),
                float(_given[1] or EVERY_S),
                float(_given[2] or WATCHED_S),
            )
        )
    )
