"""The decision record: what was planned and what came of it, as stored with the call.

Read by `daalu calls explain`. Fields are only added; `v` changes when a meaning does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from control_plane.identifiers import AgentId, AttemptId
from control_plane.router.plan import AnyCandidate, Plan

VERSION = 1
# A tenant with very many cards keeps its call rows small; the rest is counted.
MOST_LISTED = 50


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """One attempt, for the record. `error` is None where it served the call."""

    attempt_id: AttemptId
    agent_id: AgentId
    error: str | None
    duration_ms: float


def decision_json(plan: Plan[AnyCandidate], attempts: Sequence[AttemptEnd] = ()) -> str:
    record: dict[str, object] = {
        "v": VERSION,
        "candidates": [
            {
                "tier": candidate.tier,
                "agent_id": candidate.agent.agent_id,
                "agent": candidate.agent.name,
                "load": round(candidate.load, 2),
                "liveness": candidate.agent.liveness,
            }
            for candidate in plan.candidates[:MOST_LISTED]
        ],
        "left_out": [
            {
                "tier": left.tier,
                "agent_id": left.agent_id,
                "agent": left.agent_name,
                "code": left.reason,
                "words": left.words,
            }
            for left in plan.left_out[:MOST_LISTED]
        ],
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
    unlisted = max(len(plan.candidates) - MOST_LISTED, 0) + max(len(plan.left_out) - MOST_LISTED, 0)
    if unlisted:
        record["unlisted"] = unlisted
    return orjson.dumps(record).decode()


def reasons_in_words(plan: Plan[AnyCandidate]) -> str:
    """Why nothing can serve, in one line for the caller, who owns these cards."""
    listed = [f"{left.agent_name}: {left.words}" for left in plan.left_out[:5]]
    if len(plan.left_out) > len(listed):
        listed.append(f"and {len(plan.left_out) - len(listed)} more")
    return "; ".join(listed) if listed else "no card is enrolled for this tenant"
