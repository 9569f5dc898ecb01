"""Loads, from native generators, every answer checked: closed loop, one connection, streams, idle streams."""

import json
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.product import Proxy
from benchmarks.programs import LOAD_CORE, CannotMeasure, cpu_s

CONNECTIONS = 64
STREAMS = 64
CHUNKS = 128
CHUNK_MS = 20
LOAD_TIMEOUT_S = 150
_SCRIPT = Path(__file__).parent / "native" / "unary.lua"


@dataclass(frozen=True, slots=True)
class Unary:
    calls_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us_per_call: float
    calls: int


@dataclass(frozen=True, slots=True)
class Streams:
    cpu_us_per_chunk: float
    ttft_p50_ms: float
    ttft_p99_ms: float


def unary(proxy: Proxy, *, connections: int, seconds: float) -> Unary:
    """Closed loop. Raises CannotMeasure where an answer was wrong."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise CannotMeasure("there is no wrk")
    command = [
        "taskset", "-c", str(LOAD_CORE),
        wrk, "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "30s",
        "-s", str(_SCRIPT),
        f"http://127.0.0.1:{proxy.port}/v1/chat/completions", "--", proxy.key, proxy.model,
    ]  # fmt: skip
    before = cpu_s(proxy.pid)
    output = _output(command)
    used_s = cpu_s(proxy.pid) - before
    found = re.search(r"^RESULT (\{.*\})$", output, re.MULTILINE)
    if found is None:
        raise CannotMeasure(f"wrk said: {output[-300:]}")
    result = json.loads(found[1])
    if result["wrong"] or not result["calls"]:
        first = re.search(r"^WRONG (.*)$", output, re.MULTILINE)
        raise CannotMeasure(
            f"{result['wrong']} of {result['calls']} answers of {proxy.name} were wrong,"
            f" the first: {first[1] if first else 'none came'}"
        )
    return Unary(
        result["calls"] / result["seconds"],
        result["p50_us"] / 1e3,
        result["p99_us"] / 1e3,
        used_s * 1e6 / result["calls"],
        result["calls"],
    )


def streams(proxy: Proxy, program: Path, *, rounds: int) -> Streams:
    """STREAMS streams at once, each `rounds` times. Raises CannotMeasure where one was wrong."""
    before = cpu_s(proxy.pid)
    command = [
        "taskset", "-c", str(LOAD_CORE), str(program),
        str(proxy.port), str(STREAMS), str(rounds), str(CHUNKS), proxy.key, proxy.model,
    ]  # fmt: skip
    result = json.loads(_output(command))
    used_s = cpu_s(proxy.pid) - before
    if result["bad"]:
        raise CannotMeasure(f"{result['bad']} streams of {proxy.name} were wrong")
    return Streams(used_s * 1e6 / result["chunks"], result["ttft_p50_ms"], result["ttft_p99_ms"])


def settle(seconds: float = 0.5) -> None:
    """Lets what a load left behind (closing connections, a checkpoint) end before the next one."""
    time.sleep(seconds)


def _output(command: list[str]) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LOAD_TIMEOUT_S)
    if done.returncode and not done.stdout:
        raise CannotMeasure(f"{Path(command[3]).name} ended with {done.returncode}: {done.stderr[-300:]}")
    return done.stdout
