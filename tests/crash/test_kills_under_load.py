"""Kills -9 of the control plane under load, many times over one store, and what is left after all of it.

The invariants are those of the commit points; and every state that a call goes through was met.
"""

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session

from control_plane.gateway import Limits
from control_plane.store.economy_tables import AttemptTerms
from control_plane.store.tables import Attempt
from tests.support import postgresql
from tests.support.crash_checks import (
    assert_in_order,
    assert_settled_by_what_is_known,
    open_holds,
    own_attempts_running,
)
from tests.support.crash_program import KillAt
from tests.support.crash_states import COUNTED, State, states
from tests.support.crash_world import OVER_QUOTA, World, copy_of, recovered, world
from tests.support.gateway import KEY, OTHER_CODING_KEY, OTHER_KEY
from tests.support.plain_client import Asked, ask, body_of

KILLS = 150
# Until every state has ENOUGH, it goes on to this many.
MOST_KILLS = 250
ENOUGH = 20
CLIENTS = 16
MOST_COMMIT = 30
LIMITS = Limits(checkpoint_every_s=0.02)

KINDS: tuple[tuple[str, dict[str, Any]], ...] = (
    (KEY, body_of("words", streamed=False)),
    (KEY, body_of("words 4", streamed=True)),
    (OTHER_KEY, body_of("words", streamed=False)),
    (OTHER_KEY, body_of("words 4", streamed=True)),
    (OTHER_KEY, body_of("words 9", streamed=True)),
    (OTHER_CODING_KEY, body_of("words", streamed=False)),
    (OTHER_CODING_KEY, body_of("words 4", streamed=True)),
    (OTHER_KEY, body_of("words", streamed=False, max_tokens=OVER_QUOTA)),
    (OTHER_KEY, body_of("fail", streamed=True)),
    # Its client goes after the first word.
    (OTHER_KEY, body_of("endless", streamed=True)),
)


@dataclass
class _Load:
    """Clients that ask one thing after the other for as long as somebody answers."""

    random: random.Random
    asked: list[Asked] = field(default_factory=list)

    async def run(self, port: int) -> None:
        async with asyncio.TaskGroup() as clients:
            for _ in range(CLIENTS):
                clients.create_task(self._client(port))

    async def _client(self, port: int) -> None:
        while True:
            key, body = self.random.choice(KINDS)
            one = Asked(body, key)
            self.asked.append(one)
            leaves = body["messages"][0]["content"] == "endless"
            await ask(port, one, (lambda so_far: so_far.words >= 1) if leaves else lambda _: False)
            if not one.sent or not (one.saw_end or one.left):
                return


async def _one_life(here: World, choice: random.Random) -> tuple[list[Asked], Counter[State]]:
    """Most kills are at a commit, where the moments are short; the others at any time."""
    kill = KillAt(choice.randint(1, MOST_COMMIT), choice.random() < 0.6) if choice.random() < 0.7 else None
    before = [len(card.served) for card in (here.lent, here.hosted)]
    load = _Load(random.Random(choice.random()))
    async with here.life(kill) as child:
        running = asyncio.create_task(load.run(child.port))
        if kill is None or not await child.dies(within_s=5):
            await asyncio.sleep(choice.random() * 0.3)
            child.process.kill()
        assert await child.dies()
        await asyncio.wait_for(running, 20)
    planned = here.planned.read_text().split()
    served = here.lent.served[before[0] :] + here.hosted.served[before[1] :]
    return load.asked, here.read(lambda session: states(session, planned, served, load.asked))


async def _kill_again_and_again(here: World, seed: int, *, kills: int, most: int) -> list[Asked]:
    choice, asked, met = random.Random(seed), list[Asked](), Counter[State]()
    here.lent.pause_s = here.hosted.pause_s = 0.005
    began, killed = time.monotonic(), 0
    while killed < kills or (killed < most and min(met[state] for state in COUNTED) < ENOUGH):
        killed += 1
        seen, of_life = await _one_life(here, choice)
        asked += seen
        met += of_life
    print(f"\n{killed} kills (seed {seed}) in {time.monotonic() - began:.0f} s met {met.total()} calls:")
    for state in State:
        print(f"{met[state]:7d}  {state}")
    if kills >= KILLS:
        assert min(met[state] for state in COUNTED) >= ENOUGH
    return asked


def _left_open(session: Session) -> tuple[list[AttemptTerms], list[Attempt]]:
    return open_holds(session), own_attempts_running(session)


@pytest.mark.timeout(900)
async def test_150_kills_under_load_lose_nothing_and_charge_nothing_twice(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    database = tmp_path / "daalu.db"
    async with world(f"sqlite:///{database}", tmp_path, LIMITS) as here:
        asked = await _kill_again_and_again(here, seed, kills=KILLS, most=MOST_KILLS)
        for receipts in ((), here.receipts()):
            with copy_of(database, tmp_path / "reaped") as reaped:
                # Not of the original: a COMMIT that the last kill cut may be whole in its journal, and nobody
                # who had it open before knows.
                with reaped.reading() as session:
                    holds, own = _left_open(session)
                await recovered(str(reaped.url), receipts)
                with reaped.reading() as session:
                    assert_in_order(session, asked)
                    assert_settled_by_what_is_known(session, holds, own, receipts)


@pytest.mark.postgresql
@pytest.mark.timeout(300)
async def test_kills_on_postgresql_lose_nothing_and_charge_nothing_twice(
    tmp_path: Path, postgresql_server: postgresql.Server
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    async with world(postgresql_server.create_database(), tmp_path, LIMITS) as here:
        asked = await _kill_again_and_again(here, seed, kills=20, most=20)
        holds, own = here.read(_left_open)
        receipts = here.receipts()
        await recovered(here.database_url, receipts)
        with here.store.reading() as session:
            assert_in_order(session, asked)
            assert_settled_by_what_is_known(session, holds, own, receipts)
