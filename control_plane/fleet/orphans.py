"""Ending the calls whose own process is gone.

The rule, in one place. Who serves a call ends it, its attempt and the attempt's hold in one transaction. So:

- An attempt that runs on although its hold was resolved lost its process, and the economy's reaper resolved
  the hold: the attempt ends with the tokens that were settled, or with none.
- An attempt without a hold, on a card of its tenant's own, that runs on long after its agent's receipt was
  stored lost its process too: it is completed from the receipt. Where there is none, it is closed as failed.
- A call of which nothing runs any more ends as failed, with the tokens of its usage record. It never is
  complete: an answer's end goes to the client only after the settlement, which never was.

Any process may do this for any other: only what still runs is touched.
"""

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, update
from sqlmodel import Session, col, select

from control_plane.economy import OwnFacts, Tokens, settle_own
from control_plane.identifiers import AgentId, ApiKeyId, AttemptId, CallId, TenantId
from control_plane.store.economy_tables import AttemptTerms, HoldState, UsageRecord
from control_plane.store.tables import Attempt, AttemptOutcome, Call, CallOutcome, Receipt

# In Call.error_code: the answer was cut when the control plane ended; what is known of it is settled.
CUT_BY_RESTART = "control_plane_restarted"
# In Call.error_code and Attempt.error: how it ended is not known.
SETTLEMENT_LOST = "settlement_lost"
# In Attempt.error: no receipt came, and what the client had been given by then is settled.
AT_CHECKPOINT = "control plane restarted; settled at the last checkpoint"
# Of an owner's own card no more is believed: it keeps sums over a month within 64 bits.
_MOST_TOKENS = 1_000_000_000
# No attempt lasts longer, whatever its receipt says.
_LONGEST_MS = 24 * 3_600_000


def running_with_receipt(
    session: Session, limit: int, started_before_unix_ms: int | None = None
) -> list[str]:
    """Ids of attempts without a hold, the oldest first: the engine has ended, and nobody has settled them."""
    statement = (
        select(Attempt.id)
        .join(Call, col(Call.id) == col(Attempt.call_id))
        .join(Receipt, _receipt_is_of_attempt())
        .where(Call.outcome == CallOutcome.RUNNING)
        .where(Attempt.outcome == AttemptOutcome.RUNNING)
        .where(~_has_terms())
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
            _record_own_use(session, attempt, receipt)
            completed += _end(session, attempt, receipt)
    return completed


def end_with_their_holds(session: Session, *, now_unix_ms: int, limit: int) -> int:
    """Ends attempts whose hold the economy's reaper has resolved; returns how many calls ended with them."""
    statement = (
        select(Attempt, Receipt)
        .join(Call, col(Call.id) == col(Attempt.call_id))
        .join(AttemptTerms, col(AttemptTerms.attempt_id) == col(Attempt.id))
        .join(Receipt, _receipt_is_of_attempt(), isouter=True)
        .where(Call.outcome == CallOutcome.RUNNING)
        .where(Attempt.outcome == AttemptOutcome.RUNNING)
        .where(AttemptTerms.hold_state != HoldState.OPEN)
        .order_by(col(Attempt.call_id), col(Attempt.number), col(Receipt.sequence))
        .limit(limit)
        .with_for_update(of=Attempt)
    )
    ended = 0
    for attempt, receipt in session.exec(statement).all():
        if attempt.outcome == AttemptOutcome.RUNNING:
            ended += _end(session, attempt, receipt, now_unix_ms)
    return ended


def close_lost(
    session: Session, *, now_unix_ms: int, started_before_unix_ms: int, call_started_before_unix_ms: int
) -> int:
    """Closes as failed what has neither hold nor receipt and started before; then those calls that started
    before their own limit and of which nothing runs. Returns how many calls."""
    lost_attempts = (
        update(Attempt)
        .where(col(Attempt.call_id).in_(_running_calls()))
        .where(col(Attempt.outcome) == AttemptOutcome.RUNNING)
        .where(col(Attempt.started_unix_ms) < started_before_unix_ms)
        .where(~_has_terms())
        .values(outcome=AttemptOutcome.FAILED, error=SETTLEMENT_LOST, ended_unix_ms=now_unix_ms)
    )
    runs = exists().where(
        col(Attempt.call_id) == col(Call.id), col(Attempt.outcome) == AttemptOutcome.RUNNING
    )
    lost_calls = (
        update(Call)
        .where(col(Call.outcome) == CallOutcome.RUNNING)
        .where(col(Call.started_unix_ms) < call_started_before_unix_ms)
        .where(~runs)
        .values(
            outcome=CallOutcome.FAILED,
            error_code=SETTLEMENT_LOST,
            prompt_tokens=_used(UsageRecord.prompt_tokens),
            completion_tokens=_used(UsageRecord.completion_tokens),
        )
    )
    connection = session.connection()
    connection.execute(lost_attempts)
    return connection.execute(lost_calls).rowcount


def _record_own_use(session: Session, attempt: Attempt, receipt: Receipt) -> None:
    """An own-card call is metered too, at no charge."""
    call, tokens = session.get_one(Call, attempt.call_id), _tokens(receipt)
    if attempt.agent_id is None or not tokens.prompt + tokens.completion:
        return
    facts = OwnFacts(
        call_id=CallId(call.id),
        attempt_id=AttemptId(attempt.id),
        tenant_id=TenantId(call.tenant_id),
        api_key_id=ApiKeyId(call.api_key_id),
        agent_id=AgentId(attempt.agent_id),
        model=call.model,
        tokens=tokens,
        now_unix_ms=attempt.started_unix_ms + _elapsed_ms(receipt, receipt.ended_unix_ms),
    )
    settle_own(session, facts)


def _end(session: Session, attempt: Attempt, receipt: Receipt | None, now_unix_ms: int = 0) -> int:
    """Ends an attempt as its usage record says, and its call where it was the last; how many calls ended.

    `now_unix_ms` is needed where there is no receipt.
    """
    used = session.get(UsageRecord, attempt.call_id)
    _end_attempt(attempt, receipt, used, now_unix_ms)
    session.add(attempt)
    call = session.get(Call, attempt.call_id, with_for_update=True)
    later = select(Attempt.id).where(Attempt.call_id == attempt.call_id, col(Attempt.number) > attempt.number)
    if call is None or call.outcome != CallOutcome.RUNNING or session.exec(later).first():
        return 0
    _end_call(call, attempt, receipt, used)
    session.add(call)
    return 1


def _end_attempt(
    attempt: Attempt, receipt: Receipt | None, used: UsageRecord | None, now_unix_ms: int
) -> None:
    whole = receipt is not None and receipt.outcome == "complete"
    settled = used is not None and used.attempt_id == attempt.id
    attempt.outcome = AttemptOutcome.COMPLETE if whole else AttemptOutcome.FAILED
    if receipt is None:
        attempt.error = AT_CHECKPOINT if settled else SETTLEMENT_LOST
        attempt.ended_unix_ms = now_unix_ms
    else:
        words = f"control plane restarted; the agent's receipt says {receipt.outcome}"
        attempt.error = None if whole else words
        attempt.ended_unix_ms = attempt.started_unix_ms + _elapsed_ms(receipt, receipt.ended_unix_ms)
    if settled and used is not None:
        attempt.prompt_tokens = used.prompt_tokens
        attempt.completion_tokens = used.completion_tokens


def _end_call(call: Call, attempt: Attempt, receipt: Receipt | None, used: UsageRecord | None) -> None:
    call.outcome = CallOutcome.FAILED
    call.error_code = SETTLEMENT_LOST if receipt is None and used is None else CUT_BY_RESTART
    call.tier = attempt.tier
    call.agent_id = attempt.agent_id
    if used is not None:
        call.prompt_tokens = used.prompt_tokens
        call.completion_tokens = used.completion_tokens
    if receipt is None:
        return
    before_attempt_ms = attempt.started_unix_ms - call.started_unix_ms
    call.http_status = receipt.http_status
    call.duration_ms = float(before_attempt_ms + _elapsed_ms(receipt, receipt.ended_unix_ms))
    if receipt.first_byte_unix_ms:
        call.first_token_ms = float(before_attempt_ms + _elapsed_ms(receipt, receipt.first_byte_unix_ms))


def _elapsed_ms(receipt: Receipt, until_unix_ms: int) -> int:
    # Differences of the agent's own times, since its clock may be off; bounded, since it may be made up.
    return min(max(0, until_unix_ms - receipt.accepted_unix_ms), _LONGEST_MS)


def _tokens(receipt: Receipt) -> Tokens:
    return Tokens(min(receipt.prompt_tokens, _MOST_TOKENS), min(receipt.completion_tokens, _MOST_TOKENS))


def _receipt_is_of_attempt() -> ColumnElement[bool]:
    return and_(
        col(Receipt.attempt_id) == col(Attempt.id),
        col(Receipt.call_id) == col(Attempt.call_id),
        col(Receipt.agent_id) == col(Attempt.agent_id),
    )


def _has_terms() -> ColumnElement[bool]:
    return exists().where(col(AttemptTerms.attempt_id) == col(Attempt.id))


def _running_calls() -> Any:
    return select(Call.id).where(Call.outcome == CallOutcome.RUNNING)


def _used(tokens: int) -> Any:
    """Of the call's usage record; 0 where it has none."""
    recorded = select(tokens).where(col(UsageRecord.call_id) == col(Call.id)).scalar_subquery()
    return func.coalesce(recorded, 0)
