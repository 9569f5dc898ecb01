"""A kill -9 right before and right after every COMMIT of a fixed sequence of calls, one by one.

The invariants, after a restart and the reaping, whether or not the agents' receipts have come: the ledger
verifies, no hold is open, no call runs; a client that saw the end of its answer has a complete call and a
settled record; nothing is settled, or charged, twice; what the crash cut off is settled by what is known of
it; the rows of calls and attempts say what was settled.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, col, select

from control_plane.gateway import Limits
from control_plane.store.economy_tables import AttemptTerms, UsageRecord
from control_plane.store.tables import Attempt, Call, CallOutcome
from tests.support.crash_checks import (
    assert_in_order,
    assert_settled_by_what_is_known,
    open_holds,
    own_attempts_running,
)
from tests.support.crash_program import KillAt, Receipts
from tests.support.crash_world import OVER_QUOTA, Child, World, copy_of, recovered, world
from tests.support.gateway import KEY, OTHER_CODING_KEY, OTHER_KEY
from tests.support.plain_client import Asked, ask, body_of

LIMITS = Limits(checkpoint_every_s=0.1, early_headers_s=5.0)
# More than the sequence has: it ends where a life survives it.
MOST_COMMITS = 80


SEQUENCE: tuple[tuple[str, dict[str, Any]], ...] = (
    (KEY, body_of("words", streamed=False)),
    (KEY, body_of("words", streamed=True)),
    (OTHER_KEY, body_of("words", streamed=False)),
    (OTHER_KEY, body_of("words", streamed=True)),
    # Coding: served by the operator's card.
    (OTHER_CODING_KEY, body_of("words", streamed=False)),
    (OTHER_CODING_KEY, body_of("words", streamed=True)),
    # The next card serves it.
    (OTHER_KEY, body_of("fail", streamed=True)),
    (OTHER_KEY, body_of("words", streamed=False, max_tokens=OVER_QUOTA)),
    (OTHER_KEY, body_of("endless", streamed=True)),
    (OTHER_KEY, body_of("checkpointed", streamed=True)),
    (OTHER_CODING_KEY, body_of("checkpointed", streamed=True)),
)


async def _run_sequence(here: World, child: Child) -> list[Asked]:
    """Until its end, or the child's."""
    asked: list[Asked] = []
    for key, body in SEQUENCE:
        one = Asked(body, key)
        asked.append(one)
        leaves = body["messages"][0]["content"] == "endless"
        await ask(child.port, one, (lambda so_far: so_far.words >= 2) if leaves else lambda _: False)
        if one.left:
            await _until(child, lambda: here.read(_running) == 0)
        elif not one.saw_end:
            assert await child.dies(), f"the answer was cut, and nothing was killed: {bytes(one.received)!r}"
        if child.died:
            break
    return asked


async def _until(child: Child, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not child.died and not condition():  # noqa: ASYNC110 - rows are what is waited for
            await asyncio.sleep(0.01)


def _running(session: Session) -> int:
    return len(session.exec(select(Call.id).where(Call.outcome == CallOutcome.RUNNING)).all())


@pytest.mark.timeout(600)
async def test_a_kill_at_any_commit_loses_nothing_and_charges_nothing_twice(tmp_path: Path) -> None:
    template = tmp_path / "template"
    template.mkdir()
    killed = 0
    async with world(f"sqlite:///{template / 'daalu.db'}", tmp_path, LIMITS) as first:
        for commit in range(1, MOST_COMMITS):
            survived = [await _one_kill(first, template, KillAt(commit, after)) for after in (False, True)]
            killed += survived.count(False)
            if any(survived):
                break
        else:
            raise AssertionError("the sequence has more commits than was thought")
    print(f"\n{killed} kills, before and after each of {killed // 2} commits")
    assert killed >= 2 * 2 * len(SEQUENCE) - 2, "each call but the refused one has two commits at least"


async def _one_kill(first: World, template: Path, kill: KillAt) -> bool:
    """Whether the sequence came to its end."""
    name = f"{kill.commit}-{'after' if kill.after else 'before'}"
    with copy_of(template / "daalu.db", first.directory / name) as store:
        here = first.over(store)
        async with here.life(kill) as child:
            asked = await _run_sequence(here, child)
            survived = not child.died
        if survived:
            here.read(_assert_everything_happened)
        holds, own = here.read(open_holds), here.read(own_attempts_running)
        async with asyncio.TaskGroup() as both:
            for number, receipts in enumerate(((), here.receipts())):
                to = first.directory / f"{name}-reaped-{number}"
                both.create_task(_reap(first.directory / name / "daalu.db", to, receipts, asked, holds, own))
    return survived


async def _reap(
    database: Path,
    to: Path,
    receipts: Receipts,
    asked: list[Asked],
    holds: list[AttemptTerms],
    own: list[Attempt],
) -> None:
    with copy_of(database, to) as reaped:
        await recovered(str(reaped.url), receipts)
        with reaped.reading() as session:
            assert_in_order(session, asked)
            assert_settled_by_what_is_known(session, holds, own, receipts)


def _assert_everything_happened(session: Session) -> None:
    """The sequence holds what it is meant to hold."""
    calls = list(session.exec(select(Call).order_by(col(Call.started_unix_ms), col(Call.id))))
    outcomes = [call.outcome for call in calls]
    assert outcomes == ["complete"] * 7 + ["refused", "client_gone"] + ["complete"] * 2
    assert [call.error_code for call in calls if call.outcome == "refused"] == ["quota_exceeded"]
    agents = {(record.tier, record.agent_id) for record in session.exec(select(UsageRecord))}
    assert agents == {("own", "agt-lent"), ("pool", "agt-lent"), ("pool", "agt-hosted")}
    failed = [attempt.outcome for attempt in session.exec(select(Attempt))].count("failed")
    assert failed == 1
