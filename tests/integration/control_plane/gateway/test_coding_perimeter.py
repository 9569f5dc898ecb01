"""No coding call leaves the trusted perimeter, whatever else is down: not one socket is opened to another
tenant's card or to a vendor."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest

from control_plane.gateway.request import CHAT_COMPLETIONS, COMPLETIONS, INFERENCE_PATHS
from control_plane.store import Store
from control_plane.store.economy_tables import Overage
from control_plane.store.tables import Tier
from tests.support.gateway_engine import ScriptedEngine
from tests.support.scenes import Given, State, ask, world

# Key, header.
WAYS_OF_DECLARING = [(True, None), (True, "CODING"), (True, "general"), (False, "coding"), (False, "Coding")]
OTHER_NAMES = ["tiny-random-llama", "alias-of-tiny", "auto"]

# Everything outside the perimeter is ready, trusted, paid for and allowed.
TEMPTING = Given(
    own=State.OUT,
    hosted=State.FULL,
    subscribed=("hosted", "shared"),
    overage=Overage.EXTERNAL,
    vendor=State.READY,
    cap_micro_usd=1_000_000,
)
WORLDS = {
    "its own card is out and the operator's is full": TEMPTING,
    "it has no card and the operator none": replace(TEMPTING, own=None, hosted=None),
    "its own card's queue and the operator's card are full": replace(TEMPTING, own=State.FULL),
    "its own card and the operator's are drained": replace(
        TEMPTING, own=State.DRAINING, hosted=State.DRAINING
    ),
    "its own card dies over every call, and so does the operator's": replace(
        TEMPTING, own=State.DIES, hosted=State.DIES
    ),
    "the operator's gate lets nothing in": replace(TEMPTING, hosted=State.GATE_FULL),
    "the breakers of its own card and the operator's are open": replace(
        TEMPTING, own=State.BREAKER_OPEN, hosted=State.BREAKER_OPEN
    ),
    "the operator's card is critical": replace(TEMPTING, hosted=State.CRITICAL),
    "it may use the pool of lent cards alone": replace(TEMPTING, own=None, subscribed=("shared",)),
    "it may use no pool": replace(TEMPTING, own=None, subscribed=()),
    "it is pinned to another tenant's card": replace(
        TEMPTING, own=State.READY, pinned=Tier.POOL, pinned_card="lent"
    ),
    "it is pinned to the vendor": replace(TEMPTING, own=State.READY, pinned=Tier.EXTERNAL),
    "its own card is lent to the pool and out": replace(TEMPTING, lends=True),
}


def every_coding_call(given: Given) -> Iterator[Given]:
    for path, (key, header) in product(sorted(INFERENCE_PATHS), WAYS_OF_DECLARING):
        yield replace(given, path=path, coding_key=key, declared=header)
    for path in (CHAT_COMPLETIONS, COMPLETIONS):
        yield replace(given, path=path, coding_key=True, streamed=True)
    for model in OTHER_NAMES:
        yield replace(given, model=model, declared="coding")


def sockets(engines: dict[str, ScriptedEngine]) -> tuple[int, int]:
    return engines["lent"].connections, engines["vendor"].connections


@pytest.mark.parametrize("given", WORLDS.values(), ids=WORLDS)
async def test_no_socket_is_opened_outside_the_perimeter_for_a_coding_call_when(
    given: Given, sqlite_store: Store
) -> None:
    async with world(sqlite_store, given) as (front, engines):
        for call in every_coding_call(given):
            reply = await ask(front, call)
            assert reply.status_code in (403, 404, 502, 503), (call, reply.text)
            assert "fake" not in reply.text, "not even the vendor's name"
        assert sockets(engines) == (0, 0)
        # The same call, not declared, does go out: it is the purpose that keeps the others in.
        assert (await ask(front, given)).status_code == 200
        assert sum(sockets(engines)) == 1


@pytest.mark.parametrize("declared", ["code", "", "coding,general", "general;coding"])
async def test_a_declaration_that_is_not_understood_lets_nothing_out(
    declared: str, sqlite_store: Store
) -> None:
    async with world(sqlite_store, TEMPTING) as (front, engines):
        reply = await ask(front, replace(TEMPTING, declared=declared))
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, "x-daalu-purpose")
        assert sockets(engines) == (0, 0)


async def test_while_the_perimeter_can_serve_coding_calls_are_served_in_it(sqlite_store: Store) -> None:
    given = replace(TEMPTING, hosted=State.READY)
    async with world(sqlite_store, given) as (front, engines):
        for call in every_coding_call(given):
            reply = await ask(front, call)
            assert (reply.status_code, reply.headers["x-daalu-pool"]) == (200, "hosted"), (call, reply.text)
        assert sockets(engines) == (0, 0)
