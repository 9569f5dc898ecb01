"""Receipts are stored once, and end just those calls whose own process is gone. On both databases."""

import asyncio
from functools import partial

from daalu_wire.v1 import agent_pb2
from sqlmodel import Session, select

from control_plane.fleet.orphans import (
    CUT_BY_RESTART,
    SETTLEMENT_LOST,
    close_lost,
    complete_from_receipts,
    running_with_receipt,
)
from control_plane.fleet.reaper import SETTLE_GRACE_S, Reaper
from control_plane.fleet.receipts import MAX_INTEGER, Stored, store_receipts
from control_plane.store import Store, unix_ms
from control_plane.store.tables import Attempt, Call, Receipt
from tests.support.fleet_rows import add_running_call, add_tenant_and_agents


def _receipt(
    sequence: int = 1, *, call: str = "call-1", attempt: str = "att-1", **changes: int
) -> agent_pb2.Receipt:
    receipt = agent_pb2.Receipt(
        sequence=sequence,
        call_id=call,
        attempt_id=attempt,
        served_name="tiny",
        http_status=200,
        prompt_tokens=37,
        completion_tokens=8,
        # The agent's clock is far off; only differences of its times count.
        accepted_unix_ms=900_000,
        first_byte_unix_ms=900_040,
        ended_unix_ms=900_200,
        outcome=agent_pb2.RECEIPT_OUTCOME_COMPLETE,
    )
    receipt.MergeFrom(agent_pb2.Receipt(**changes))  # type: ignore[arg-type]
    return receipt


def _prepare(store: Store, *attempts: tuple[str, str], started: int = 1_000) -> None:
    store.write_now(lambda session: add_tenant_and_agents(session, "agt-1", "agt-2"))
    store.write_now(
        lambda session: add_running_call(
            session, "call-1", *(attempts or (("att-1", "agt-1"),)), started_unix_ms=started
        )
    )


def _store(store: Store, *receipts: agent_pb2.Receipt, agent: str = "agt-1") -> Stored:
    return store.write_now(partial(store_receipts, agent_id=agent, receipts=receipts))


def _complete(store: Store) -> int:
    """How many calls ended."""

    def unit(session: Session) -> int:
        return complete_from_receipts(session, running_with_receipt(session, 10))

    return store.write_now(unit)


def _call(store: Store) -> Call:
    with store.reading() as session:
        return session.exec(select(Call)).one()


def _attempt(store: Store, attempt_id: str = "att-1") -> Attempt:
    with store.reading() as session:
        return session.exec(select(Attempt).where(Attempt.id == attempt_id)).one()


def test_an_orphaned_call_is_completed_from_its_receipt(any_store: Store) -> None:
    _prepare(any_store)
    assert _store(any_store, _receipt()) == Stored(acknowledged=1, new=1)
    assert _complete(any_store) == 1
    call, attempt = _call(any_store), _attempt(any_store)
    assert (call.outcome, call.error_code, call.http_status) == ("failed", CUT_BY_RESTART, 200)
    assert (call.prompt_tokens, call.completion_tokens, call.agent_id) == (37, 8, "agt-1")
    assert (call.first_token_ms, call.duration_ms) == (50.0, 210.0)
    assert (attempt.outcome, attempt.completion_tokens, attempt.ended_unix_ms) == ("complete", 8, 1_210)
    assert _complete(any_store) == 0


def test_another_agents_receipt_completes_nothing(any_store: Store) -> None:
    _prepare(any_store)
    _store(any_store, _receipt(), agent="agt-2")
    assert _complete(any_store) == 0
    assert _call(any_store).outcome == "running"


def test_a_receipt_that_names_another_call_completes_nothing(any_store: Store) -> None:
    _prepare(any_store)
    _store(any_store, _receipt(call="call-2"))
    assert _complete(any_store) == 0
    assert _attempt(any_store).outcome == "running"


def test_only_the_last_attempt_completes_the_call(any_store: Store) -> None:
    _prepare(any_store, ("att-1", "agt-1"), ("att-2", "agt-2"))
    _store(any_store, _receipt())
    assert _complete(any_store) == 0
    assert (_attempt(any_store).outcome, _call(any_store).outcome) == ("complete", "running")
    _store(any_store, _receipt(attempt="att-2"), agent="agt-2")
    assert _complete(any_store) == 1
    assert _call(any_store).agent_id == "agt-2"


def test_of_two_receipts_of_one_attempt_the_first_counts(any_store: Store) -> None:
    _prepare(any_store)
    _store(any_store, _receipt(1), _receipt(2, completion_tokens=999))
    assert _complete(any_store) == 1
    assert _call(any_store).completion_tokens == 8


async def test_who_serves_a_call_has_time_to_settle_it(any_store: Store) -> None:
    _prepare(any_store, started=unix_ms())
    reaper = Reaper(any_store)
    _store(any_store, _receipt())
    await reaper.look(1_000.0)
    await reaper.look(1_000.0 + SETTLE_GRACE_S - 1)
    assert _call(any_store).outcome == _attempt(any_store).outcome == "running"
    await reaper.look(1_000.0 + SETTLE_GRACE_S)
    assert (_call(any_store).outcome, _attempt(any_store).outcome) == ("failed", "complete")


async def test_two_processes_over_one_store_end_a_call_once(any_store: Store) -> None:
    _prepare(any_store, started=unix_ms())
    reapers = [Reaper(any_store), Reaper(any_store)]
    _store(any_store, _receipt())
    for now_s in (0.0, SETTLE_GRACE_S):
        await asyncio.gather(*(reaper.look(now_s) for reaper in reapers))
    ended = _call(any_store)
    assert (ended.outcome, ended.completion_tokens) == ("failed", 8)


def test_a_call_with_no_receipt_is_closed_when_no_call_lasts_that_long(any_store: Store) -> None:
    _prepare(any_store)

    def closed(before: int) -> int:
        return any_store.write_now(
            lambda session: close_lost(
                session,
                now_unix_ms=9_000,
                started_before_unix_ms=before,
                call_started_before_unix_ms=before,
            )
        )

    assert closed(1_000) == 0
    # The attempt started 10 ms after its call.
    assert closed(1_011) == 1
    assert closed(1_011) == 0
    call, attempt = _call(any_store), _attempt(any_store)
    assert (call.outcome, call.error_code) == ("failed", SETTLEMENT_LOST)
    assert (attempt.outcome, attempt.error, attempt.ended_unix_ms) == ("failed", SETTLEMENT_LOST, 9_000)


def test_the_same_batch_again_changes_nothing(any_store: Store) -> None:
    _prepare(any_store)
    batch = [_receipt(1), _receipt(2, attempt="att-x")]
    assert _store(any_store, *batch).new == 2
    assert _store(any_store, *batch, _receipt(3, attempt="att-y")) == Stored(3, new=1)
    with any_store.reading() as session:
        assert len(session.exec(select(Receipt)).all()) == 3


def test_a_claim_that_no_database_could_hold_is_cut_to_what_it_can(any_store: Store) -> None:
    _prepare(any_store)
    _store(any_store, _receipt(attempt="a\0" + "b" * 500, completion_tokens=2**64 - 1))
    with any_store.reading() as session:
        row = session.exec(select(Receipt)).one()
    assert row.completion_tokens == MAX_INTEGER
    assert row.attempt_id == "a" + "b" * 199


def test_a_receipt_with_times_that_cannot_be_ends_its_call_all_the_same(any_store: Store) -> None:
    _prepare(any_store)
    _store(any_store, _receipt(accepted_unix_ms=-(2**62), first_byte_unix_ms=1, ended_unix_ms=2**62))
    assert _complete(any_store) == 1
    assert _call(any_store).duration_ms is not None
