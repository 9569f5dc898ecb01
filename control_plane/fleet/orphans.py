"""Ending the calls whose own process is gone.

The rule, in one place: who serves a call settles it soon after the engine has ended. So an attempt that is
still RUNNING long after its agent's receipt was stored lost its process, and is completed from the receipt;
its call with it, if that attempt was the call's last. What runs longer than any call may, and has no receipt
either, is closed as failed. Any process may do this for any other: only what still runs is touched.
"""

from collections.abc import Collection

from sqlalchemy import ColumnElement, and_, update
from sqlmodel import Session, col, select

from control_plane.store.tables import Attempt, AttemptOutcome, Call, CallOutcome, Receipt

# In Call.error_code: the client's answer was cut when the control plane ended.
SETTLED_FROM_RECEIPT = "control_plane_restarted"
# In Call.error_code and Attempt.error: how it ended is not known.
SETTLEMENT_LOST = "settlement_lost"


def running_with_receipt(
    session: Session, limit: int, started_before_unix_ms: int | None = None
) -> list[str]:
    """Ids of attempts, the oldest first: the engine has ended, and nobody has settled them yet."""
    statement = (
        select(Attempt.id)
        .join(Receipt, _receipt_is_of_attempt())
        .where(Attempt.outcome == AttemptOutcome.RUNNING)
        .order_by(col(Attempt.started_unix_ms))
        .limit(limit)
    )
    if started_before_unix_ms is not None:
        statement = statement.where(col(Attempt.started_unix_ms) < started_before_unix_ms)
    return list(session.exec(statement))


def complete_from_receipts(session: Session, attempt_ids: Collection[str]) -> int:
    """Completes those of these attempts that still run and have a receipt; returns how many calls ended."""
    statement = (
        select(Attempt, Receipt)
        .join(Receipt, _receipt_is_of_attempt())
        .where(col(Attempt.id).in_(attempt_ids))
        .where(Attempt.outcome == AttemptOutcome.RUNNING)
        .order_by(col(Attempt.call_id), col(Attempt.number), col(Receipt.sequence))
        .with_for_update(of=Attempt)
    )
    completed = 0
    for attempt, receipt in session.exec(statement).all():
        # A second receipt of one attempt changes nothing.
        if attempt.outcome == AttemptOutcome.RUNNING:
            _complete_attempt(session, attempt, receipt)
            completed += _complete_call(session, attempt, receipt)
    return completed


def close_lost(session: Session, *, now_unix_ms: int, started_before_unix_ms: int) -> int:
    """Closes as failed what still runs and started before; returns how many calls."""
    lost_attempts = (
        update(Attempt)
        .where(col(Attempt.outcome) == AttemptOutcome.RUNNING)
        .where(col(Attempt.started_unix_ms) < started_before_unix_ms)
        .values(outcome=AttemptOutcome.FAILED, error=SETTLEMENT_LOST, ended_unix_ms=now_unix_ms)
    )
    lost_calls = (
        update(Call)
        .where(col(Call.outcome) == CallOutcome.RUNNING)
        .where(col(Call.started_unix_ms) < started_before_unix_ms)
        .values(outcome=CallOutcome.FAILED, error_code=SETTLEMENT_LOST)
    )
    connection = session.connection()
    connection.execute(lost_attempts)
    return connection.execute(lost_calls).rowcount


def _complete_attempt(session: Session, attempt: Attempt, receipt: Receipt) -> None:
    whole = receipt.outcome == "complete"
    attempt.outcome = AttemptOutcome.COMPLETE if whole else AttemptOutcome.FAILED
    attempt.error = None if whole else f"control plane restarted; the agent's receipt says {receipt.outcome}"
    attempt.prompt_tokens = receipt.prompt_tokens
    attempt.completion_tokens = receipt.completion_tokens
    attempt.ended_unix_ms = attempt.started_unix_ms + _elapsed_ms(receipt, receipt.ended_unix_ms)
    session.add(attempt)


def _complete_call(session: Session, attempt: Attempt, receipt: Receipt) -> int:
    """Always FAILED: an answer's end goes to the client only after its settlement, which never was."""
    call = session.get(Call, attempt.call_id, with_for_update=True)
    later = select(Attempt.id).where(Attempt.call_id == attempt.call_id, col(Attempt.number) > attempt.number)
    if call is None or call.outcome != CallOutcome.RUNNING or session.exec(later).first():
        return 0
    before_attempt_ms = attempt.started_unix_ms - call.started_unix_ms
    call.outcome = CallOutcome.FAILED
    call.error_code = SETTLED_FROM_RECEIPT
    call.http_status = receipt.http_status
    call.tier = attempt.tier
    call.agent_id = attempt.agent_id
    call.prompt_tokens = receipt.prompt_tokens
    call.completion_tokens = receipt.completion_tokens
    call.duration_ms = float(before_attempt_ms + _elapsed_ms(receipt, receipt.ended_unix_ms))
    if receipt.first_byte_unix_ms:
        call.first_token_ms = float(before_attempt_ms + _elapsed_ms(receipt, receipt.first_byte_unix_ms))
    session.add(call)
    return 1


def _elapsed_ms(receipt: Receipt, until_unix_ms: int) -> int:
    # Differences of the agent's own times, since its clock may be off.
    return max(0, until_unix_ms - receipt.accepted_unix_ms)


def _receipt_is_of_attempt() -> ColumnElement[bool]:
    return and_(
        col(Receipt.attempt_id) == col(Attempt.id),
        col(Receipt.call_id) == col(Attempt.call_id),
        col(Receipt.agent_id) == col(Attempt.agent_id),
    )
