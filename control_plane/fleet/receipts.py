"""Storing agents' receipts: each once, with the cursor in the same transaction."""

from collections.abc import Sequence
from dataclasses import dataclass

from daalu_wire.v1 import agent_pb2
from sqlalchemy import insert
from sqlmodel import Session, select

from control_plane.store.tables import Agent, Receipt

# The widest integer that both databases store.
MAX_INTEGER = 2**63 - 1
MAX_TEXT_CHARACTERS = 200
_OUTCOMES = {
    agent_pb2.RECEIPT_OUTCOME_COMPLETE: "complete",
    agent_pb2.RECEIPT_OUTCOME_CALLER_GONE: "caller_gone",
    agent_pb2.RECEIPT_OUTCOME_ENGINE_ERROR: "engine_error",
    agent_pb2.RECEIPT_OUTCOME_INTERRUPTED: "interrupted",
}


@dataclass(frozen=True, slots=True)
class Stored:
    """What one batch changed."""

    acknowledged: int
    new: int


def store_receipts(session: Session, agent_id: str, receipts: Sequence[agent_pb2.Receipt]) -> Stored:
    """A unit of work: keeps what is new of `receipts` and moves the cursor.

    Receipts up to the cursor are stored already and change nothing, so any batch may come any number of
    times. `receipts` are in the order of their sequence numbers.
    """
    agent = session.exec(select(Agent).where(Agent.id == agent_id).with_for_update(key_share=True)).one()
    rows = [_row(agent_id, receipt) for receipt in receipts if receipt.sequence > agent.receipts_acknowledged]
    if not rows:
        return Stored(agent.receipts_acknowledged, 0)
    session.execute(insert(Receipt), [row.model_dump() for row in rows])
    agent.receipts_acknowledged = rows[-1].sequence
    session.add(agent)
    return Stored(agent.receipts_acknowledged, len(rows))


def _row(agent_id: str, receipt: agent_pb2.Receipt) -> Receipt:
    return Receipt(
        agent_id=agent_id,
        sequence=receipt.sequence,
        call_id=_text(receipt.call_id),
        attempt_id=_text(receipt.attempt_id),
        served_name=_text(receipt.served_name),
        http_status=min(receipt.http_status, 999),
        prompt_tokens=min(receipt.prompt_tokens, MAX_INTEGER),
        completion_tokens=min(receipt.completion_tokens, MAX_INTEGER),
        accepted_unix_ms=receipt.accepted_unix_ms,
        first_byte_unix_ms=receipt.first_byte_unix_ms,
        ended_unix_ms=receipt.ended_unix_ms,
        outcome=_OUTCOMES.get(receipt.outcome, "unspecified"),
    )


def _text(value: str) -> str:
    # PostgreSQL stores no NUL; an id of ours is never this long.
    return value.replace("\0", "")[:MAX_TEXT_CHARACTERS]
