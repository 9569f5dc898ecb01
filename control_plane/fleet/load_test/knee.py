"""Where more calls at once stop bringing more tokens. Pure."""

from collections.abc import Sequence

from control_plane.fleet.load_test.step import StepFigures

# Of the highest throughput that the sweep saw.
SHARE_OF_BEST = 0.9
# A step of which more than this share failed measured the failures.
MOST_FAILED = 0.01


def find_knee(steps: Sequence[StepFigures]) -> int | None:
    """The lowest concurrency that reached 90 % of the highest output tokens/s of all good steps.

    None where that is the largest one tried, or the only good one: throughput still grew there, and nothing
    measured says where it ends.
    """
    good = sorted(
        (
            step
            for step in steps
            if step.completed and step.failed <= MOST_FAILED * (step.completed + step.failed)
        ),
        key=lambda step: step.concurrency,
    )
    if len(good) < 2:
        return None
    enough = SHARE_OF_BEST * max(step.output_tokens_per_s for step in good)
    knee = next(step.concurrency for step in good if step.output_tokens_per_s >= enough)
    return knee if knee < good[-1].concurrency else None
