"""Calls of a dead process under a hold end as the economy's reaper resolved it. On both databases."""

from functools import partial

from sqlmodel import Session, select

from control_plane.economy import OwnFacts, Tokens, checkpoint, reap_holds, settle_own, verify
from control_plane.fleet.orphans import AT_CHECKPOINT, CUT_BY_RESTART, SETTLEMENT_LOST
from control_plane.fleet.reaper import RECEIPTS_WAIT_S, Reaper
from control_plane.identifiers import AgentId, ApiKeyId
from control_plane.store import Store, unix_ms
from control_plane.store.economy_tables import UsageRecord
from control_plane.store.tables import Attempt, AttemptOutcome, Call, CallOutcome, Receipt
from tests.support.economy import (
    CONSUMER,
    CONSUMERS_AGENT,
    PROVIDERS_CARD,
    Dispatch,
    add_attempt,
    add_economy,
    in_pool,
)


def _prepare(store: Store) -> Dispatch:
    store.write_now(add_economy)
    dispatch = in_pool(1, now_unix_ms=unix_ms())
    store.write_now(dispatch)
    return dispatch


def _reaper(store: Store) -> Reaper:
    """Of a process that started just now, when no other one lived."""
    started = unix_ms() + 1
    return Reaper(store, lambda: started)


def _reap_holds(store: Store, *, waited: bool) -> None:
    later = unix_ms() + 1
    store.write_now(
        partial(
            reap_holds,
            now_unix_ms=later,
            orphaned_before_unix_ms=later,
            give_up_before_unix_ms=later if waited else 0,
            limit=10,
        )
    )


def _add_receipt(store: Store, dispatch: Dispatch, completion_tokens: int, agent_id: str) -> None:
    receipt = Receipt(
        agent_id=agent_id,
        sequence=dispatch.number,
        call_id=dispatch.call_id,
        attempt_id=dispatch.attempt_id,
        served_name="tiny",
        http_status=200,
        prompt_tokens=8,
        completion_tokens=completion_tokens,
        accepted_unix_ms=1_000,
        first_byte_unix_ms=1_040,
        ended_unix_ms=1_200,
        outcome="complete",
    )
    store.write_now(lambda session: session.add(receipt))


def _rows(store: Store) -> tuple[Call, Attempt]:
    with store.reading() as session:
        return session.exec(select(Call)).one(), session.exec(select(Attempt)).one()


def _used(store: Store) -> list[UsageRecord]:
    with store.reading() as session:
        assert verify(session) == []
        return list(session.exec(select(UsageRecord)))


async def test_rows_say_the_smaller_count_that_was_settled_and_not_the_receipts(any_store: Store) -> None:
    dispatch = _prepare(any_store)
    any_store.write_now(lambda session: checkpoint(session, dispatch.attempt_id, Tokens(8, 5)))
    _add_receipt(any_store, dispatch, 12, PROVIDERS_CARD.agent_id)
    reaper = _reaper(any_store)
    await reaper.look(0.0)
    call, attempt = _rows(any_store)
    assert (call.outcome, attempt.outcome) == ("running", "running"), "the hold is first"
    _reap_holds(any_store, waited=False)
    await reaper.look(1.0)
    call, attempt = _rows(any_store)
    assert (call.outcome, call.error_code, call.duration_ms) == ("failed", CUT_BY_RESTART, 200.0)
    assert (attempt.outcome, attempt.prompt_tokens, attempt.completion_tokens) == ("complete", 8, 5)
    assert (call.prompt_tokens, call.completion_tokens) == (8, 5)
    [record] = _used(any_store)
    assert (record.prompt_tokens, record.completion_tokens) == (8, 5)


async def test_a_hold_that_was_given_back_ends_its_call_with_no_tokens(any_store: Store) -> None:
    _prepare(any_store)
    _reap_holds(any_store, waited=True)
    await _reaper(any_store).look(0.0)
    call, attempt = _rows(any_store)
    assert (call.outcome, call.error_code, attempt.error) == ("failed", SETTLEMENT_LOST, SETTLEMENT_LOST)
    assert (call.completion_tokens, attempt.completion_tokens) == (0, 0)
    assert _used(any_store) == []


async def test_a_call_without_a_receipt_says_that_it_was_settled_at_its_last_checkpoint(
    any_store: Store,
) -> None:
    dispatch = _prepare(any_store)
    any_store.write_now(lambda session: checkpoint(session, dispatch.attempt_id, Tokens(8, 5)))
    _reap_holds(any_store, waited=True)
    await _reaper(any_store).look(0.0)
    call, attempt = _rows(any_store)
    assert (call.outcome, call.error_code, attempt.error) == ("failed", CUT_BY_RESTART, AT_CHECKPOINT)
    assert call.completion_tokens == attempt.completion_tokens == 5
    assert [record.completion_tokens for record in _used(any_store)] == [5]


async def test_a_call_of_a_living_process_is_left_alone(any_store: Store) -> None:
    _prepare(any_store)
    reaper = Reaper(any_store, lambda: 1)
    await reaper.look(0.0)
    await reaper.look(RECEIPTS_WAIT_S)
    call, attempt = _rows(any_store)
    assert (call.outcome, attempt.outcome) == ("running", "running")


async def test_a_call_that_died_between_two_attempts_is_closed_at_once(any_store: Store) -> None:
    _prepare(any_store)
    _reap_holds(any_store, waited=True)

    def give_back(session: Session) -> None:
        attempt = session.exec(select(Attempt)).one()
        attempt.outcome = AttemptOutcome.FAILED
        session.add(attempt)

    any_store.write_now(give_back)
    await Reaper(any_store, lambda: 1).look(0.0)
    assert _rows(any_store)[0].outcome == "running", "its process may live, and try the next card"
    await _reaper(any_store).look(0.0)
    assert _rows(any_store)[0].outcome == "failed"


def _own_call(store: Store) -> Dispatch:
    store.write_now(add_economy)
    dispatch = in_pool(1, now_unix_ms=unix_ms())

    def add(session: Session) -> None:
        add_attempt(
            session, dispatch.call_id, dispatch.attempt_id, tier="own", card=None, now_unix_ms=unix_ms()
        )
        attempt = session.exec(select(Attempt)).one()
        attempt.agent_id, attempt.agent_tenant_id = CONSUMERS_AGENT, CONSUMER
        session.add(attempt)

    store.write_now(add)
    return dispatch


async def test_an_own_card_call_is_metered_from_its_receipt_at_no_charge(any_store: Store) -> None:
    dispatch = _own_call(any_store)
    _add_receipt(any_store, dispatch, 12, CONSUMERS_AGENT)
    await _reaper(any_store).look(0.0)
    call, attempt = _rows(any_store)
    assert (call.outcome, attempt.outcome) == (CallOutcome.FAILED, AttemptOutcome.COMPLETE)
    [record] = _used(any_store)
    assert (record.tier, record.completion_tokens, record.charge_pico_usd) == ("own", 12, 0)
    assert call.completion_tokens == attempt.completion_tokens == 12


async def test_an_own_card_call_without_a_receipt_is_closed_when_receipts_have_been_waited_for(
    any_store: Store,
) -> None:
    _own_call(any_store)
    reaper = _reaper(any_store)
    await reaper.look(0.0)
    await reaper.look(RECEIPTS_WAIT_S - 1)
    assert _rows(any_store)[0].outcome == "running"
    await reaper.look(RECEIPTS_WAIT_S)
    call, attempt = _rows(any_store)
    assert (call.outcome, call.error_code, attempt.outcome) == ("failed", SETTLEMENT_LOST, "failed")


async def test_a_receipt_of_a_call_that_was_settled_before_changes_nothing(any_store: Store) -> None:
    dispatch = _own_call(any_store)
    facts = OwnFacts(
        dispatch.call_id,
        dispatch.attempt_id,
        CONSUMER,
        ApiKeyId("key-consumer"),
        AgentId(CONSUMERS_AGENT),
        "tiny",
        Tokens(8, 3),
        unix_ms(),
    )
    any_store.write_now(lambda session: settle_own(session, facts))
    _add_receipt(any_store, dispatch, 12, CONSUMERS_AGENT)
    await _reaper(any_store).look(0.0)
    call, attempt = _rows(any_store)
    assert call.completion_tokens == attempt.completion_tokens == 3
    assert [record.completion_tokens for record in _used(any_store)] == [3]
