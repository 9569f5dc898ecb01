"""What open pages of the console cost the calls that go on beside them."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import product
from benchmarks.loads import CONNECTIONS, Unary, settle, unary
from benchmarks.product import Proxy
from benchmarks.programs import LOAD_CORE, CannotMeasure, cpu_s, memory_kib, python, running

PAGES = 50
WARM_S = 2.0
# Longer than the slowest part of a page takes to be drawn anew, which is every 10 s.
WATCHED_S = 11.0


@dataclass(frozen=True, slots=True)
class Found:
    """Medians of the rounds. "Alone": with no page open. "Idle": with no call under way."""

    alone_cpu_us_per_call: float
    cpu_us_per_call: float
    alone_calls_per_s: float
    calls_per_s: float
    alone_idle_core_share: float
    idle_core_share: float
    memory_mb: float


@contextmanager
def open_pages(directory: Path, proxy: Proxy) -> Iterator[None]:
    command = python("-m", "benchmarks.pages", str(directory / "control-plane"), str(proxy.port), str(PAGES))
    log = directory / "pages.log"
    with running(command, LOAD_CORE, log) as process:
        assert process.stdout is not None
        if process.stdout.readline().strip() != "open":
            raise CannotMeasure(f"the pages could not be opened: {log.read_text()[-300:]}")
        yield
        if process.poll() is not None:
            raise CannotMeasure(f"the pages did not stay open: {log.read_text()[-300:]}")


def measure(directory: Path, rounds: int, upstream: Callable[[Path], AbstractContextManager[Proxy]]) -> Found:
    """In turns with and without pages. Raises CannotMeasure."""
    alone: list[Unary] = []
    beside: list[Unary] = []
    idle_alone, idle = [], []
    most_kib = 0
    with ExitStack() as stack:
        engine = stack.enter_context(upstream(directory))
        daalu = stack.enter_context(product.serving(directory, engine.port, has_card=True))
        unary(daalu, connections=CONNECTIONS, seconds=WARM_S)
        for _ in range(rounds):
            idle_alone.append(_core_share(daalu))
            alone.append(unary(daalu, connections=CONNECTIONS, seconds=WATCHED_S))
            settle()
            with open_pages(directory, daalu):
                idle.append(_core_share(daalu))
                beside.append(unary(daalu, connections=CONNECTIONS, seconds=WATCHED_S))
                most_kib = max(most_kib, memory_kib(daalu.pid))
            settle()
    return Found(
        alone_cpu_us_per_call=statistics.median(each.cpu_us_per_call for each in alone),
        cpu_us_per_call=statistics.median(each.cpu_us_per_call for each in beside),
        alone_calls_per_s=statistics.median(each.calls_per_s for each in alone),
        calls_per_s=statistics.median(each.calls_per_s for each in beside),
        alone_idle_core_share=statistics.median(idle_alone),
        idle_core_share=statistics.median(idle),
        memory_mb=most_kib / 1024,
    )


def _core_share(proxy: Proxy) -> float:
    before_s, began_s = cpu_s(proxy.pid), time.monotonic()
    time.sleep(WATCHED_S)
    return (cpu_s(proxy.pid) - before_s) / (time.monotonic() - began_s)
