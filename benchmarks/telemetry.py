"""Telemetry of a large fleet: what recording it costs, and how soon a page has its history.

    python -m benchmarks.telemetry DIRECTORY [SECONDS_BETWEEN_SAMPLES]

Prints one JSON object. Samples are made up; everything after the wire is the product's own: the state of each
agent with the health of its card, the recorder, the file and the reader.
"""

import json
import random
import statistics
import sys
import time
from pathlib import Path

from control_plane.catalogue import CardClasses
from control_plane.fleet import AgentStatus, FleetView, identity_of
from control_plane.fleet.facts import AgentFacts
from control_plane.fleet.state import AgentState
from control_plane.fleet.telemetry import Recorder, Wanted, read_history
from control_plane.identifiers import AgentId
from control_plane.metrics import OPERATORS, CallMeters, MetricsParts, ProcessFigures, look, render
from control_plane.store import unix_ms
from tests.support.telemetry import agent_facts, sample_at_work

AGENTS = 1_000
AGENTS_OF_A_TENANT = 10
FILLED_MIN = 60
EVERY_S = 5.0
WATCHED_S = 40.0
PAGES = 200
SCRAPES = 10
MINUTE_MS = 60_000
# What a page shows, in points, and the ranges that it offers.
POINTS = 300
RANGES_MIN = (5, 60, 24 * 60, 7 * 24 * 60)


def facts(number: int) -> AgentFacts:
    return agent_facts(f"agt-{number}", f"ten-{number // AGENTS_OF_A_TENANT}")


def uuid_of(number: int) -> str:
    return f"GPU-{number}"


def fill(recorder: Recorder, fleet: list[AgentFacts], until_unix_ms: int, every_s: float) -> None:
    """FILLED_MIN of the past, as fast as it is taken."""
    chance = random.Random(1)
    begins = until_unix_ms - FILLED_MIN * MINUTE_MS
    for at_unix_ms in range(begins, until_unix_ms, int(every_s * 1000)):
        for number, each in enumerate(fleet):
            recorder.sampled(each, sample_at_work(uuid_of(number), at_unix_ms, chance), at_unix_ms)
        while recorder.waiting_count:
            time.sleep(0.01)


def states_of(recorder: Recorder, fleet: list[AgentFacts]) -> list[AgentState]:
    classes = CardClasses.load()
    return [
        AgentState(
            each,
            lambda _: None,
            lambda *_: None,
            lambda card: classes.recognise(*identity_of(card)),
            recorder,
        )
        for each in fleet
    ]


def watch(states: list[AgentState], every_s: float) -> dict[str, float]:
    """WATCHED_S of the present, in real time: the share of a core that hearing and recording takes."""
    chance = random.Random(2)
    began_cpu_s, began_s = time.process_time(), time.monotonic()
    making_s = hearing_s = 0.0
    heard = 0
    due_s = began_s
    while due_s - began_s < WATCHED_S:
        number = heard % len(states)
        before_s = time.thread_time()
        made = sample_at_work(uuid_of(number), unix_ms(), chance)
        between_s = time.thread_time()
        states[number].hear(made, time.monotonic())
        making_s += between_s - before_s
        hearing_s += time.thread_time() - between_s
        heard += 1
        due_s = began_s + heard * every_s / len(states)
        time.sleep(max(0.0, due_s - time.monotonic()))
    took_s = time.monotonic() - began_s
    cpu_s = time.process_time() - began_cpu_s - making_s
    return {
        "samples_per_s": heard / took_s,
        "core_share": cpu_s / took_s,
        "hearing_core_share": hearing_s / took_s,
    }


class States:
    """A fleet as /metrics looks at it."""

    def __init__(self, states: list[AgentState]) -> None:
        self._states = {state.agent_id: state for state in states}
        self.view = FleetView({agent_id: state.view() for agent_id, state in self._states.items()})

    def status(self, agent_id: AgentId) -> AgentStatus | None:
        return self._states[agent_id].status()


def scrapes(states: list[AgentState]) -> dict[str, float]:
    """What an operator's scrape takes: of the event loop's CPU, and of a thread's."""
    for state in states:
        state.probed(time.monotonic())
    parts = MetricsParts(States(states), CallMeters(), lambda: ProcessFigures(0, 0, 0, 0))
    looking, rendering = [], []
    text = b""
    for _ in range(SCRAPES):
        began_s = time.thread_time()
        looked = look(parts, OPERATORS, {})
        looked_s = time.thread_time()
        text, _ = render(looked, "")
        looking.append((looked_s - began_s) * 1e3)
        rendering.append((time.thread_time() - looked_s) * 1e3)
    return {
        "scrape_loop_cpu_ms": statistics.median(looking),
        "scrape_thread_cpu_ms": statistics.median(rendering),
        "scrape_kib": len(text) / 1024,
    }


def pages(path: Path, now_unix_ms: int) -> dict[str, float]:
    """Milliseconds for the history of one agent, card and engine, over each range."""
    chance = random.Random(3)
    taken: dict[str, float] = {}
    for minutes in RANGES_MIN:
        times, cpu = [], []
        for _ in range(PAGES):
            number = chance.randrange(AGENTS)
            wanted = Wanted(
                tenant_id=facts(number).tenant_id,
                agent_id=facts(number).agent_id,
                from_unix_ms=now_unix_ms - minutes * MINUTE_MS,
                to_unix_ms=now_unix_ms,
                most_points=POINTS,
            )
            began_s, began_cpu_s = time.perf_counter(), time.thread_time()
            history = read_history(path, wanted)
            times.append((time.perf_counter() - began_s) * 1e3)
            cpu.append((time.thread_time() - began_cpu_s) * 1e3)
            assert len(history.subjects) == 2
        taken[f"page_{minutes}_min_cpu_ms"] = statistics.median(cpu)
        taken[f"page_{minutes}_min_p50_ms"] = statistics.median(times)
        taken[f"page_{minutes}_min_p99_ms"] = statistics.quantiles(times, n=100)[-1]
    return taken


def run(directory: Path, every_s: float) -> None:
    path = directory / "telemetry.db"
    recorder = Recorder(path)
    fleet = [facts(number) for number in range(AGENTS)]
    now_unix_ms = unix_ms()
    fill(recorder, fleet, now_unix_ms, every_s)
    states = states_of(recorder, fleet)
    results: dict[str, float] = {"agents": AGENTS, **watch(states, every_s), **scrapes(states)}
    results |= pages(path, now_unix_ms)
    results["dropped"] = recorder.dropped_count
    recorder.close()
    results["file_mib"] = path.stat().st_size / 1024**2
    print(json.dumps({key: round(value, 3) for key, value in results.items()}))


if __name__ == "__main__":
    run(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else EVERY_S)
