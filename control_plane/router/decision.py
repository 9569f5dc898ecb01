"""The decision record: what was planned and what came of it, as stored with the call.

Read by `daalu calls explain`. Fields are only added; `v` changes when a meaning does.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from control_plane.identifiers import AgentId, AttemptId
from control_plane.router.candidates import AnyCandidate, AtVendor, LeftOut, OwnCard
from control_plane.router.plan import Plan
from control_plane.store.tables import Tier

VERSION = 1
# A tenant with very many cards keeps its call rows small; the rest is counted.
MOST_LISTED = 50
# Reasons that a client is told.
MOST_TOLD = 5


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """One attempt, for the record. `error` is None where it served the call."""

    attempt_id: AttemptId
    # None: a vendor.
    agent_id: AgentId | None
    error: str | None
    duration_ms: float


@dataclass(frozen=True, slots=True)
class Denial:
    """A pool or a vendor that the plan named and that would not take the call: no attempt was made."""

    tier: Tier
    # The pool's name, or the vendor's.
    name: str
    code: str
    words: str


def decision_json(
    plan: Plan[AnyCandidate], attempts: Sequence[AttemptEnd] = (), denials: Sequence[Denial] = ()
) -> str:
    record: dict[str, object] = {
        "v": VERSION,
        "candidates": [_candidate(candidate) for candidate in plan.candidates[:MOST_LISTED]],
        "left_out": [_left_out(left) for left in plan.left_out[:MOST_LISTED]],
        "attempts": [
            {
                "attempt_id": attempt.attempt_id,
                "agent_id": attempt.agent_id,
                "error": attempt.error,
                "duration_ms": round(attempt.duration_ms, 1),
            }
            for attempt in attempts
        ],
    }
    if denials:
        record["denials"] = [
            {"tier": denial.tier, "name": denial.name, "code": denial.code, "words": denial.words}
            for denial in denials
        ]
    unlisted = max(len(plan.candidates) - MOST_LISTED, 0) + max(len(plan.left_out) - MOST_LISTED, 0)
    if unlisted:
        record["unlisted"] = unlisted
    return orjson.dumps(record).decode()


def reasons_in_words(plan: Plan[AnyCandidate]) -> str:
    """Why nothing can serve, in one line for the caller: its own cards by name, of others' only how many."""
    listed = [f"{left.agent_name}: {left.words}" for left in plan.left_out if left.tier is Tier.OWN]
    in_pools = Counter(
        (left.pool_name, left.reason.replace("_", " "))
        for left in plan.left_out
        if left.tier is Tier.POOL and left.agent_id is not None
    )
    listed += [
        f"pool {pool}: {count} card{'s' if count > 1 else ''} left out ({reason})"
        for (pool, reason), count in in_pools.items()
    ]
    listed += [
        f"{f'pool {left.pool_name}' if left.pool_name else left.tier}: {left.words}"
        for left in plan.left_out
        if left.agent_id is None
    ]
    told = listed[:MOST_TOLD]
    if len(listed) > len(told):
        told.append(f"and {len(listed) - len(told)} more")
    return "; ".join(told) if told else "no card is enrolled for this tenant"


def _candidate(candidate: AnyCandidate) -> dict[str, object]:
    if isinstance(candidate, AtVendor):
        return {"tier": candidate.tier, "vendor": candidate.model.vendor}
    shown: dict[str, object] = {
        "tier": candidate.tier,
        "agent_id": candidate.agent.agent_id,
        "agent": candidate.agent.name,
        "load": round(candidate.load, 2),
        "liveness": candidate.agent.liveness,
    }
    if not isinstance(candidate, OwnCard):
        shown["pool"] = candidate.offer.pool_name
    return shown


def _left_out(left: LeftOut) -> dict[str, object]:
    shown: dict[str, object] = {
        "tier": left.tier,
        "agent_id": left.agent_id,
        "agent": left.agent_name,
        "code": left.reason,
        "words": left.words,
    }
    if left.pool_name is not None:
        shown["pool"] = left.pool_name
    return shown
