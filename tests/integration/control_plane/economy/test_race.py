"""Racing for a quota: not one call too many, and not one too few."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from sqlmodel import select

from control_plane.economy import Held
from control_plane.store import Store
from control_plane.store.economy_tables import QuotaMonth
from tests.support.economy import in_pool

# The plan's 1,000 tokens cover 50 calls of 20.
CALLS = 64
FITTING = 50

_RACER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from control_plane.economy import Held
from control_plane.store import Store
from tests.support.economy import dispatch_all, in_pool
store = Store(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
def one(number):
    return isinstance(store.write_now(in_pool(number, max_tokens=10)), Held)
def several(numbers):
    group = [in_pool(number, max_tokens=10) for number in numbers]
    results = store.write_now(lambda session: dispatch_all(session, group))
    return sum(isinstance(result, Held) for result in results)
numbers = range(int(sys.argv[2]), int(sys.argv[3]))
batches = [numbers[:3], numbers[3:4], numbers[4:9]]
with ThreadPoolExecutor(16) as threads:
    print(sum([*threads.map(several, batches), *threads.map(one, numbers[9:])]), flush=True)
store.close()
"""


def _held(store: Store) -> int:
    with store.reading() as session:
        return session.exec(select(QuotaMonth.held_tokens)).one()


def test_of_64_threads_exactly_as_many_as_fit_are_held(economy: Store) -> None:
    def one(number: int) -> bool:
        return isinstance(economy.write_now(in_pool(number, max_tokens=10)), Held)

    with ThreadPoolExecutor(CALLS) as threads:
        assert sum(threads.map(one, range(CALLS))) == FITTING
    assert _held(economy) == 1_000


def test_of_several_processes_calls_exactly_as_many_as_fit_are_held(
    economy: Store, database_url: str
) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", _RACER, database_url, str(start), str(start + 16)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for start in range(0, CALLS, 16)
    ]  # fmt: skip
    try:
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        served = [int(racer.communicate("go\n", timeout=60)[0]) for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()
    assert sum(served) == FITTING
    assert _held(economy) == 1_000
