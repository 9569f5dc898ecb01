"""Verification: every invariant of the money that the store can show, with the rows that break it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlmodel import Session, col, select

from control_plane.economy.invariants import INVARIANTS
from control_plane.economy.money import Tokens
from control_plane.economy.settlement import charge_and_credit
from control_plane.store.economy_tables import AttemptTerms, UsageRecord

# Rows named for one invariant.
MOST_EVIDENCE = 10
_ROWS_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Broken:
    """An invariant that does not hold; `evidence` names ids and numbers of the first rows."""

    invariant: str
    evidence: tuple[str, ...]


def verify(session: Session) -> list[Broken]:
    """What is broken, in the order of INVARIANTS; empty: nothing. Reads one snapshot of a live store."""
    if session.get_bind().dialect.name == "postgresql":
        session.connection().execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    connection = session.connection()
    broken = []
    for invariant, query in INVARIANTS:
        rows = connection.execute(text(f"{query} LIMIT {MOST_EVIDENCE}")).mappings().all()
        if rows:
            broken.append(Broken(invariant, tuple(_shown(row) for row in rows)))
    wrong = tuple(_wrong_amounts(session))
    if wrong:
        broken.append(Broken("charge and credit follow from tokens, price and share", wrong))
    return broken


def _wrong_amounts(session: Session) -> Iterator[str]:
    """Computed again from the frozen terms."""
    statement = (
        select(UsageRecord, AttemptTerms)
        .join(AttemptTerms, col(AttemptTerms.attempt_id) == col(UsageRecord.attempt_id))
        .execution_options(yield_per=_ROWS_AT_ONCE)
    )
    found = 0
    for usage, terms in session.exec(statement):
        tokens = Tokens(usage.prompt_tokens, usage.completion_tokens, usage.cached_prompt_tokens)
        expected = charge_and_credit(terms, tokens)
        if expected != (usage.charge_pico_usd, usage.credit_pico_usd) and found < MOST_EVIDENCE:
            found += 1
            yield (
                f"call_id={usage.call_id} charge_pico_usd={usage.charge_pico_usd}"
                f" credit_pico_usd={usage.credit_pico_usd} expected={expected[0]}, {expected[1]}"
            )


def _shown(row: Any) -> str:
    return " ".join(f"{name}={value}" for name, value in row.items())
