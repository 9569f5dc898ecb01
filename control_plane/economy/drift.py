"""Drift: whether a provider's engine claims more tokens than the gateway counts, judged on its mean. Pure.

An honest engine's claims differ from the count by little and not in one direction for long: measured with a
real vLLM and SmolLM2, 0.4 % at most in the mean of 16 answers at temperatures from 0 to 2, none on prompts.
Who claims less than was counted is paid less, and harms nobody.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from control_plane.store.economy_tables import Measure

# The newest calls that are looked at: few show a change soon, many show what comes in a few large pieces.
WINDOWS_CALLS = (100, 1_000)
LEAST_CALLS = 20
# The mean excess that is nobody's fault; no one earns by it, since the smaller number is paid.
TOLERANCE = 0.05
# The mean must exceed it by so many of its standard errors: one call is no proof.
STANDARD_ERRORS = 3.0
# Of each answer: its end may be cut within a character, or a token reach beyond a stop string.
SLACK_TOKENS = {Measure.PROMPT: 0, Measure.COMPLETION: 1}


@dataclass(frozen=True, slots=True)
class Metered:
    """One call's tokens of one kind."""

    claimed: int
    counted: int


@dataclass(frozen=True, slots=True)
class Drift:
    """The evidence, sums over `calls` calls."""

    measure: Measure
    calls: int
    claimed_tokens: int
    counted_tokens: int


def judge(measure: Measure, calls: Sequence[Metered]) -> Drift | None:
    """None: no drift to be seen. `calls`: the newest first."""
    for window in WINDOWS_CALLS:
        judged = calls[:window]
        if len(judged) >= LEAST_CALLS and _is_excessive(judged, SLACK_TOKENS[measure]):
            return Drift(
                measure,
                len(judged),
                sum(call.claimed for call in judged),
                sum(call.counted for call in judged),
            )
    return None


def _is_excessive(calls: Sequence[Metered], slack: int) -> bool:
    """Whether the ratio of all excess to all that was counted is above the tolerance beyond doubt."""
    excess = [_excess(call, slack) for call in calls]
    # Where nothing was delivered, any claim is an excess.
    counted = [max(call.counted, 1) for call in calls]
    total = sum(counted)
    ratio = sum(excess) / total
    # The usual estimate for a ratio of two sums: how far the calls lie from what the ratio says of each.
    spread = sum((e - ratio * c) ** 2 for e, c in zip(excess, counted, strict=True))
    error = sqrt(spread * len(calls) / (len(calls) - 1)) / total
    return ratio - STANDARD_ERRORS * error > TOLERANCE


def _excess(call: Metered, slack: int) -> int:
    excess = call.claimed - call.counted
    return max(excess - slack, 0) if excess > 0 else excess
