"""The reaper: holds that a crash left open are settled by what is known, or given back."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlmodel import Session, col, select

from control_plane.economy import sql
from control_plane.economy.money import Tokens
from control_plane.economy.settlement import SettleFacts, Voided, settle_all
from control_plane.identifiers import AttemptId, CallId
from control_plane.store.economy_tables import AttemptTerms, HoldState, UsageRecord
from control_plane.store.tables import Receipt


@dataclass(frozen=True, slots=True)
class Reaped:
    settled: int
    voided: int


def reap_holds(
    session: Session,
    *,
    now_unix_ms: int,
    orphaned_before_unix_ms: int,
    give_up_before_unix_ms: int,
    limit: int,
) -> Reaped:
    """Resolves up to `limit` open holds, oldest first; again until it resolves none.

    Only holds opened before `orphaned_before_unix_ms` are looked at: no process may still serve those.
    One with the agent's receipt is resolved by it; one without waits for it until it was opened before
    `give_up_before_unix_ms`, and is then resolved by its last checkpoint. Where no content is known of,
    nothing is charged.
    """
    sql.one_writer_at_a_time(session)
    statement = (
        select(AttemptTerms, Receipt, UsageRecord.call_id)
        .join(
            Receipt,
            (col(Receipt.attempt_id) == col(AttemptTerms.attempt_id))
            & (col(Receipt.call_id) == col(AttemptTerms.call_id))
            & (col(Receipt.agent_id) == col(AttemptTerms.agent_id)),
            isouter=True,
        )
        .join(UsageRecord, col(UsageRecord.call_id) == col(AttemptTerms.call_id), isouter=True)
        .where(
            AttemptTerms.hold_state == HoldState.OPEN,
            AttemptTerms.opened_unix_ms < orphaned_before_unix_ms,
            col(Receipt.attempt_id).is_not(None)
            | col(UsageRecord.call_id).is_not(None)
            | (col(AttemptTerms.opened_unix_ms) < give_up_before_unix_ms),
        )
        .order_by(col(AttemptTerms.opened_unix_ms), col(AttemptTerms.attempt_id))
        .limit(limit)
    )
    found: Sequence[tuple[AttemptTerms, Receipt | None, str | None]] = session.exec(statement).all()
    ends = [
        _facts(terms, receipt, now_unix_ms) if settled_call is None else Voided(AttemptId(terms.attempt_id))
        for terms, receipt, settled_call in found
    ]
    results = settle_all(session, ends)
    first = [end for end, result in zip(ends, results, strict=True) if result is not None and result.first]
    voided = sum(isinstance(end, Voided) for end in first)
    return Reaped(len(first) - voided, voided)


def _facts(terms: AttemptTerms, receipt: Receipt | None, now_unix_ms: int) -> SettleFacts | Voided:
    """Void where nothing was delivered that is known of."""
    seen = Tokens(terms.checkpoint_prompt_tokens, terms.checkpoint_completion_tokens)
    claimed = None
    if receipt is not None:
        claimed = Tokens(receipt.prompt_tokens, receipt.completion_tokens)
    # The gateway's last checkpoint is all that it counted; an operator's card is believed beyond it.
    known = claimed if claimed is not None and terms.operator_card else seen
    if not known.completion:
        return Voided(AttemptId(terms.attempt_id))
    return SettleFacts(CallId(terms.call_id), AttemptId(terms.attempt_id), claimed, seen, now_unix_ms)
