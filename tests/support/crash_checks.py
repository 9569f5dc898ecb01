"""What must hold after a crash, a restart and the reaping."""

from collections import Counter
from collections.abc import Iterable, Mapping

from daalu_wire.v1 import agent_pb2
from sqlmodel import Session, select

from control_plane.economy import verify
from control_plane.store.economy_tables import (
    AttemptTerms,
    HoldState,
    LedgerTransaction,
    QuotaMonth,
    TransactionKind,
    UsageRecord,
)
from control_plane.store.tables import Attempt, AttemptOutcome, Call, CallOutcome, Tier
from tests.support.crash_program import Receipts
from tests.support.plain_client import Asked


def open_holds(session: Session) -> list[AttemptTerms]:
    return list(session.exec(select(AttemptTerms).where(AttemptTerms.hold_state == HoldState.OPEN)))


def own_attempts_running(session: Session) -> list[Attempt]:
    running = select(Attempt).where(Attempt.outcome == AttemptOutcome.RUNNING, Attempt.tier == Tier.OWN)
    return list(session.exec(running))


def assert_in_order(session: Session, asked: Iterable[Asked]) -> None:
    """The books, with what the clients saw."""
    assert verify(session) == []
    assert open_holds(session) == []
    calls = {call.id: call for call in session.exec(select(Call))}
    used = {record.call_id: record for record in session.exec(select(UsageRecord))}
    assert [call.id for call in calls.values() if call.outcome == CallOutcome.RUNNING] == []
    _assert_clients_ends_are_settled(calls, used, asked)
    _assert_rows_agree(session, calls, used)
    _assert_nothing_twice(session, used)


def _assert_clients_ends_are_settled(
    calls: Mapping[str, Call], used: Mapping[str, UsageRecord], asked: Iterable[Asked]
) -> None:
    for each in asked:
        if not each.saw_end or each.status != 200:
            continue
        assert each.call_id is not None
        assert calls[each.call_id].outcome == CallOutcome.COMPLETE
        record = used[each.call_id]
        assert record.completion_tokens >= each.words > 0


def _assert_rows_agree(session: Session, calls: Mapping[str, Call], used: Mapping[str, UsageRecord]) -> None:
    """The rows of calls and attempts say what was settled, and nothing where nothing was."""
    for attempt in session.exec(select(Attempt)):
        assert attempt.outcome != AttemptOutcome.RUNNING, attempt
        record = used.get(attempt.call_id)
        settled = record if record is not None and record.attempt_id == attempt.id else None
        assert (attempt.prompt_tokens, attempt.completion_tokens) == _tokens(settled), attempt
    for call in calls.values():
        assert (call.prompt_tokens, call.completion_tokens) == _tokens(used.get(call.id)), call


def _tokens(record: UsageRecord | None) -> tuple[int, int]:
    return (record.prompt_tokens, record.completion_tokens) if record is not None else (0, 0)


def _assert_nothing_twice(session: Session, used: Mapping[str, UsageRecord]) -> None:
    settlements = Counter(
        row.call_id
        for row in session.exec(select(LedgerTransaction))
        if row.kind == TransactionKind.SETTLEMENT
    )
    pools = {call_id for call_id, record in used.items() if record.tier == Tier.POOL}
    assert settlements == Counter(pools)
    settled = [
        terms.call_id for terms in session.exec(select(AttemptTerms)) if terms.hold_state == HoldState.SETTLED
    ]
    assert Counter(settled) == Counter(pools)
    months = list(session.exec(select(QuotaMonth)))
    assert sum(month.held_tokens for month in months) == 0
    assert sum(month.used_tokens for month in months) == sum(
        record.prompt_tokens + record.completion_tokens
        for record in used.values()
        if record.tier == Tier.POOL
    )


def assert_settled_by_what_is_known(
    session: Session,
    holds: Iterable[AttemptTerms],
    own: Iterable[Attempt],
    receipts: Receipts,
) -> None:
    """Each hold that the crash left open: an operator's card by its receipt, any other by the smaller of
    receipt and last checkpoint; without a receipt by the checkpoint; nothing where no content is known of."""
    known = {
        receipt.attempt_id: receipt
        for _, journal in receipts
        for receipt in map(agent_pb2.Receipt.FromString, journal)
    }
    for terms in holds:
        receipt = known.get(terms.attempt_id)
        expected = (terms.checkpoint_prompt_tokens, terms.checkpoint_completion_tokens)
        if receipt is not None:
            claimed = receipt.prompt_tokens, receipt.completion_tokens
            expected = (
                claimed
                if terms.operator_card
                else (min(expected[0], claimed[0]), min(expected[1], claimed[1]))
            )
        record = session.get(UsageRecord, terms.call_id)
        if not expected[1]:
            assert record is None, terms
        else:
            assert record is not None, terms
            assert (record.prompt_tokens, record.completion_tokens) == expected, (terms, record)
    for attempt in own:
        receipt, record = known.get(attempt.id), session.get(UsageRecord, attempt.call_id)
        if receipt is None:
            assert record is None
        else:
            assert record is not None
            assert (record.completion_tokens, record.charge_pico_usd) == (receipt.completion_tokens, 0)
