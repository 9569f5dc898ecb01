"""Measures the product on one core beside nginx, vllm-router and LiteLLM; see docs/performance.md.

python -m benchmarks [--json] [--rounds N] [--no-peers] [--only PART ...]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path

from benchmarks import console, fleet, idle, product, proxies, tunnel
from benchmarks.loads import CHUNK_MS, CHUNKS, CONNECTIONS, Streams, Unary, settle, streams, unary
from benchmarks.product import Proxy
from benchmarks.programs import LOAD_CORE, MEASURED_CORE, CannotMeasure, built, python, running
from benchmarks.report import Report
from tests.support.control_plane import free_ports

UNARY_S = 2.0
SLOW_UNARY_S = 6.0
IDLE_CHUNK_MS = 30_000
PARTS_TIMEOUT_S = 120
Start = Callable[[Path, int], AbstractContextManager[Proxy]]


@contextmanager
def upstream(directory: Path, *, chunks: int, chunk_ms: int) -> Iterator[Proxy]:
    [port] = free_ports(1)
    command = [str(built("upstream.c", directory)), str(port), str(chunks), str(chunk_ms)]
    with running(command, LOAD_CORE, directory / "upstream.log") as process:
        yield Proxy("upstream", port, process.pid)


def measure_side_by_side(report: Report, directory: Path, rounds: int) -> None:
    """The product, nginx and the upstream itself, in turns."""
    client = built("streams.c", directory)
    closed: dict[str, list[Unary]] = {"daalu": [], "nginx": []}
    alone: dict[str, list[Unary]] = {"daalu": [], "upstream": []}
    streamed: dict[str, list[Streams]] = {"daalu": [], "nginx": [], "upstream": []}
    with ExitStack() as stack:
        engine = stack.enter_context(upstream(directory, chunks=CHUNKS, chunk_ms=CHUNK_MS))
        daalu = stack.enter_context(product.serving(directory, engine.port))
        nginx = stack.enter_context(proxies.nginx(directory, engine.port))
        unary(daalu, connections=CONNECTIONS, seconds=UNARY_S)
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            for proxy in (daalu, nginx):
                closed[proxy.name].append(unary(proxy, connections=CONNECTIONS, seconds=UNARY_S))
                settle()
            for proxy in (daalu, engine):
                alone[proxy.name].append(unary(proxy, connections=1, seconds=UNARY_S))
                settle()
            for proxy in (daalu, nginx, engine):
                streamed[proxy.name].append(streams(proxy, client, rounds=1))
                settle()

    def middle(values: list[float]) -> float:
        return statistics.median(values)

    for name, made in closed.items():
        report.raw[f"{name} unary calls/s"] = middle([each.calls_per_s for each in made])
        report.raw[f"{name} CPU µs/call"] = middle([each.cpu_us_per_call for each in made])
    for name, made in alone.items():
        report.raw[f"{name} p50 ms, one connection"] = middle([each.p50_ms for each in made])
        report.raw[f"{name} p99 ms, one connection"] = middle([each.p99_ms for each in made])
    for name, seen in streamed.items():
        report.raw[f"{name} time to first token p50 ms"] = middle([each.ttft_p50_ms for each in seen])
        if name != "upstream":
            report.raw[f"{name} CPU µs/chunk"] = middle([each.cpu_us_per_chunk for each in seen])
    raw, values = report.raw, report.values
    values["unary_vs_nginx"] = raw["daalu unary calls/s"] / raw["nginx unary calls/s"]
    values["chunk_cpu_vs_nginx"] = raw["daalu CPU µs/chunk"] / raw["nginx CPU µs/chunk"]
    added = raw["daalu p50 ms, one connection"] - raw["upstream p50 ms, one connection"]
    raw["added p50 ms, commits included"] = added
    values["added_p50_ms"] = added - raw["two commits ms"]
    values["added_p99_ms"] = raw["daalu p99 ms, one connection"] - raw["upstream p99 ms, one connection"]
    values["ttft_added_p50_ms"] = (
        raw["daalu time to first token p50 ms"] - raw["upstream time to first token p50 ms"]
    )


def measure_parts(report: Report, directory: Path) -> None:
    command = ["taskset", "-c", str(MEASURED_CORE), *python("-m", "benchmarks.parts", str(directory))]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=PARTS_TIMEOUT_S)
    parts = json.loads(done.stdout)
    report.raw["two commits ms"] = parts.pop("two_commits_ms")
    report.values.update(parts)


def measure_idle(report: Report, directory: Path) -> None:
    with (
        upstream(directory, chunks=0, chunk_ms=IDLE_CHUNK_MS) as engine,
        product.serving(directory, engine.port) as daalu,
    ):
        unary(daalu, connections=CONNECTIONS, seconds=UNARY_S)
        report.values["idle_stream_kib"] = idle.kib_per_stream(daalu)


def measure_two_processes(report: Report, directory: Path, rounds: int) -> None:
    """CPU per call of two processes that share store and core, to that of one with as many connections."""
    together: list[float] = []
    with ExitStack() as stack:
        engine = stack.enter_context(upstream(directory, chunks=CHUNKS, chunk_ms=CHUNK_MS))
        first = stack.enter_context(product.serving(directory, engine.port))
        unary(first, connections=CONNECTIONS, seconds=UNARY_S)
        alone = []
        for _ in range(rounds):
            alone.append(unary(first, connections=CONNECTIONS, seconds=UNARY_S).cpu_us_per_call)
            settle()
        second = stack.enter_context(product.sibling(directory, first))
        for _ in range(rounds):
            with ThreadPoolExecutor(2) as both:
                made = list(
                    both.map(
                        lambda proxy: unary(proxy, connections=CONNECTIONS // 2, seconds=UNARY_S),
                        (first, second),
                    )
                )
            settle()
            calls = sum(each.calls for each in made)
            together.append(sum(each.cpu_us_per_call * each.calls for each in made) / calls)
    report.raw["daalu CPU µs/call, one process"] = statistics.median(alone)
    report.raw["daalu CPU µs/call, two processes"] = statistics.median(together)
    report.values["cpu_per_call_two_processes"] = statistics.median(together) / statistics.median(alone)


def measure_tunnel(report: Report, directory: Path, rounds: int) -> None:
    measured = tunnel.measure(directory, rounds)
    report.raw["requests/s through the product's tunnel"] = measured.product
    report.raw["requests/s through plain WireGuard"] = measured.plain
    report.values["tunnel_ratio"] = measured.product / measured.plain


def measure_fleet(report: Report, directory: Path) -> None:
    """CPU time, but for what was waited: other work on the machine changes that little."""
    found = fleet.measure(directory, fleet.AGENTS, fleet.EVERY_S, fleet.WATCHED_S)
    report.values["fleet_core_share"] = found.core_share
    report.values["fleet_memory_mb"] = found.memory_mb
    report.values["fleet_samples_lost"] = found.lost
    report.values["fleet_page_ms"] = max(page.cpu_ms for page in found.pages.values())
    report.raw["fleet samples sent"] = found.sent
    report.raw["fleet samples stored"] = found.stored
    report.raw["fleet connecting, CPU s"] = found.connecting_cpu_s
    for name, page in found.pages.items():
        report.raw[f"fleet page of {name}, CPU ms"] = page.cpu_ms
        report.raw[f"fleet page of {name}, waited p50 ms"] = page.p50_ms
        report.raw[f"fleet page of {name}, waited at worst ms"] = page.worst_ms


def measure_console(report: Report, directory: Path, rounds: int) -> None:
    engine = partial(upstream, chunks=CHUNKS, chunk_ms=CHUNK_MS)
    found = console.measure(directory, rounds, engine)
    report.values["console_cpu_ratio"] = found.cpu_us_per_call / found.alone_cpu_us_per_call
    report.raw["daalu CPU µs/call, no page open"] = found.alone_cpu_us_per_call
    report.raw["daalu CPU µs/call, 50 pages open"] = found.cpu_us_per_call
    report.raw["daalu unary calls/s, no page open"] = found.alone_calls_per_s
    report.raw["daalu unary calls/s, 50 pages open"] = found.calls_per_s
    report.raw["50 open pages alone, share of a core"] = found.idle_core_share
    report.raw["no page open, share of a core"] = found.alone_idle_core_share
    report.raw["daalu memory, 50 pages open, MB"] = found.memory_mb


def measure_peer(report: Report, directory: Path, start: Start, key: str) -> None:
    """A peer in turns with the product, so that their ratio is of the same minutes."""
    ours, theirs = [], []
    with ExitStack() as stack:
        engine = stack.enter_context(upstream(directory, chunks=CHUNKS, chunk_ms=CHUNK_MS))
        daalu = stack.enter_context(product.serving(directory, engine.port))
        peer = stack.enter_context(start(directory, engine.port))
        unary(peer, connections=CONNECTIONS, seconds=UNARY_S)
        for _ in range(3):
            ours.append(unary(daalu, connections=CONNECTIONS, seconds=UNARY_S).calls_per_s)
            settle()
            theirs.append(unary(peer, connections=CONNECTIONS, seconds=SLOW_UNARY_S).calls_per_s)
            settle()
    report.raw[f"{peer.name} unary calls/s"] = statistics.median(theirs)
    report.values[key] = statistics.median(ours) / statistics.median(theirs)


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-peers", action="store_true", help="without vllm-router and LiteLLM")
    parser.add_argument("--only", action="append", default=[], metavar="PART", help="one of the parts; again")
    arguments = parser.parse_args()
    report = Report()
    steps: list[tuple[str, list[str], Callable[[Path], None]]] = [
        ("parts", ["ledger_calls_per_s", "plan_us_10k"], lambda where: measure_parts(report, where)),
        (
            "side by side",
            ["unary_vs_nginx", "chunk_cpu_vs_nginx", "added_p50_ms", "added_p99_ms", "ttft_added_p50_ms"],
            lambda where: measure_side_by_side(report, where, arguments.rounds),
        ),
        ("idle streams", ["idle_stream_kib"], lambda where: measure_idle(report, where)),
        (
            "two processes",
            ["cpu_per_call_two_processes"],
            lambda where: measure_two_processes(report, where, arguments.rounds),
        ),
        ("tunnel", ["tunnel_ratio"], lambda where: measure_tunnel(report, where, arguments.rounds)),
        (
            "fleet",
            ["fleet_core_share", "fleet_memory_mb", "fleet_samples_lost", "fleet_page_ms"],
            lambda where: measure_fleet(report, where),
        ),
        ("console", ["console_cpu_ratio"], lambda where: measure_console(report, where, arguments.rounds)),
    ]
    peers: list[tuple[str, Start]] = [
        ("unary_vs_vllm_router", proxies.vllm_router),
        ("unary_vs_litellm", proxies.litellm),
    ]
    for key, start in peers:
        if arguments.no_peers:
            report.reasons[key] = "left out by --no-peers"
        else:
            steps.append(
                (key, [key], lambda where, start=start, key=key: measure_peer(report, where, start, key))  # type: ignore[misc]
            )
    names = [name for name, _, _ in steps]
    if unknown := set(arguments.only) - set(names):
        parser.error(f"there is no part {', '.join(sorted(unknown))}: use one of {', '.join(names)}")
    for name, keys, step in steps:
        if arguments.only and name not in arguments.only:
            report.reasons.update(dict.fromkeys(keys, "left out by --only"))
            continue
        say(name)
        try:
            with tempfile.TemporaryDirectory(prefix="daalu-bench-") as directory:
                step(Path(directory))
        except (CannotMeasure, subprocess.SubprocessError) as error:
            say(f"{name}: {error}")
            report.reasons.update(dict.fromkeys(keys, str(error)[:300]))
    print(report.as_json() if arguments.json else report.as_table())


if __name__ == "__main__":
    main()
