"""A provider's drift is judged on its mean: inflation shows soon, an honest engine's noise never."""

import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.economy.drift import LEAST_CALLS, Drift, Metered, judge
from control_plane.store.economy_tables import Measure

# Counted completion tokens of one call, as traffic may have them.
Lengths = Callable[[random.Random], int]
TRAFFIC: dict[str, Lengths] = {
    "steady": lambda _: 64,
    "short": lambda dice: dice.randint(8, 16),
    "mixed": lambda dice: 1 + int(dice.expovariate(1 / 200)),
    "long-tailed": lambda dice: min(int(dice.paretovariate(1.1) * 20), 32_000),
}


def _honest(dice: random.Random, lengths: Lengths) -> Iterator[Metered]:
    """More noise than was measured with a real engine (see the module), and more of it upwards."""
    while True:
        counted = lengths(dice)
        yield Metered(
            max(counted + round(dice.gauss(0.01, 0.025) * counted) + dice.choice((-1, 0, 0, 1)), 0), counted
        )


def _inflated(calls: Iterator[Metered], percent: int) -> Iterator[Metered]:
    for call in calls:
        yield Metered(call.claimed * (100 + percent) // 100, call.counted)


def _first_flagged(calls: Iterator[Metered], most: int) -> int | None:
    """After how many calls; judged after each."""
    seen: list[Metered] = []
    for number, call in zip(range(1, most + 1), calls, strict=False):
        seen.insert(0, call)
        if judge(Measure.COMPLETION, seen):
            return number
    return None


@pytest.mark.parametrize("traffic", TRAFFIC)
def test_twenty_percent_more_is_flagged_within_a_hundred_calls(traffic: str) -> None:
    for seed in range(20):
        calls = _inflated(_honest(random.Random(seed), TRAFFIC[traffic]), 20)
        assert _first_flagged(calls, 100) is not None, seed


@pytest.mark.parametrize("traffic", TRAFFIC)
def test_a_thousand_honest_calls_flag_nothing(traffic: str) -> None:
    for seed in range(20):
        dice = random.Random(seed)
        calls = [call for _, call in zip(range(1_000), _honest(dice, TRAFFIC[traffic]), strict=False)]
        for number in range(LEAST_CALLS, 1_001, 7):
            assert judge(Measure.COMPLETION, calls[1_000 - number :]) is None, (seed, number)


@given(st.integers(0, 2**32), st.sampled_from(sorted(TRAFFIC)), st.integers(LEAST_CALLS, 1_000))
def test_no_honest_engine_is_flagged_by_chance(seed: int, traffic: str, number: int) -> None:
    honest = _honest(random.Random(seed), TRAFFIC[traffic])
    assert judge(Measure.COMPLETION, [call for _, call in zip(range(number), honest, strict=False)]) is None


def test_who_begins_to_inflate_is_flagged_within_a_hundred_calls_of_it() -> None:
    dice = random.Random(1)
    honest = _honest(dice, TRAFFIC["mixed"])
    before = [next(honest) for _ in range(900)]
    for inflating, call in enumerate(_inflated(honest, 20), start=1):
        before.insert(0, call)
        if judge(Measure.COMPLETION, before):
            break
        assert inflating < 100


def test_a_few_large_lies_show_in_many_calls() -> None:
    dice = random.Random(2)
    calls = [Metered(640 if dice.random() < 0.03 else 64, 64) for _ in range(1_000)]
    assert judge(Measure.COMPLETION, calls) is not None


def test_one_call_is_no_proof_however_far_off() -> None:
    calls = [Metered(64, 64)] * 99
    assert judge(Measure.COMPLETION, [Metered(32_000, 1), *calls]) is None


def test_claims_for_nothing_are_drift() -> None:
    assert judge(Measure.COMPLETION, [Metered(50, 0)] * LEAST_CALLS) is not None
    assert judge(Measure.COMPLETION, [Metered(0, 0)] * 100) is None


def test_few_calls_are_not_judged() -> None:
    assert judge(Measure.COMPLETION, [Metered(200, 100)] * (LEAST_CALLS - 1)) is None
    assert judge(Measure.COMPLETION, [Metered(200, 100)] * LEAST_CALLS) is not None
    assert judge(Measure.COMPLETION, []) is None


def test_an_answer_has_a_token_of_slack_and_a_prompt_has_none() -> None:
    calls = [Metered(11, 10)] * 100
    assert judge(Measure.COMPLETION, calls) is None
    assert judge(Measure.PROMPT, calls) == Drift(Measure.PROMPT, 100, 1_100, 1_000)


def test_who_claims_less_is_not_flagged() -> None:
    assert judge(Measure.PROMPT, [Metered(50, 100)] * 1_000) is None


def test_the_evidence_is_that_of_the_calls_that_showed_it() -> None:
    calls = [Metered(120, 100)] * 100 + [Metered(100, 100)] * 900
    assert judge(Measure.COMPLETION, calls) == Drift(Measure.COMPLETION, 100, 12_000, 10_000)
