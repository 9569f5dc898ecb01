"""Falling through a plan."""

from hypothesis import given
from hypothesis import strategies as st

from control_plane.router import MAX_ATTEMPTS, FallThrough, RetryBudget


def test_candidates_come_in_order_and_end() -> None:
    steps = FallThrough(["a", "b"])
    assert [steps.next(), steps.next(), steps.next()] == ["a", "b", None]


def test_attempts_are_bounded_however_many_candidates_there_are() -> None:
    steps = FallThrough(list("abcdefgh"))
    assert [steps.next() for _ in range(5)] == ["a", "b", "c", None, None]
    assert steps.attempts == MAX_ATTEMPTS


def test_the_same_candidate_may_be_tried_again_once() -> None:
    steps = FallThrough(["a", "b"])
    steps.next()
    steps.try_same_again()
    assert steps.next() == "a"
    steps.try_same_again()
    assert steps.next() == "b"


def test_trying_again_before_the_first_attempt_changes_nothing() -> None:
    steps = FallThrough(["a"])
    steps.try_same_again()
    assert [steps.next(), steps.next()] == ["a", None]


def test_what_was_not_sent_anything_counts_as_no_attempt() -> None:
    steps = FallThrough(list("abcdefgh"))
    given = []
    while (candidate := steps.next()) is not None:
        given.append(candidate)
        if candidate in "abc":
            steps.untried()
    assert given == list("abcdef")
    assert steps.attempts == MAX_ATTEMPTS


def test_what_is_skipped_is_not_offered_and_what_was_tried_stays_tried() -> None:
    steps = FallThrough(["a1", "a2", "b1", "a3", "b2"])
    assert steps.next() == "a1"
    steps.skip(lambda name: name.startswith("a"))
    assert [steps.next(), steps.next(), steps.next()] == ["b1", "b2", None]


def test_skipping_leaves_the_last_candidate_to_be_tried_again() -> None:
    steps = FallThrough(["a1", "a2", "b1"])
    steps.next()
    steps.skip(lambda name: name.startswith("a"))
    steps.try_same_again()
    assert [steps.next(), steps.next(), steps.next()] == ["a1", "b1", None]


def test_skipping_everything_ends_the_call() -> None:
    steps = FallThrough(["a", "b"])
    steps.skip(lambda name: True)
    assert steps.next() is None
    assert steps.attempts == 0


@given(st.lists(st.sampled_from(["next", "untried", "skip", "again"]), max_size=40), st.integers(0, 8))
def test_no_candidate_is_offered_a_third_time_and_attempts_stay_bounded(
    events: list[str], count: int
) -> None:
    steps = FallThrough(list(range(count)))
    offered: list[int] = []
    answered = True
    for event in events:
        if event == "next":
            candidate = steps.next()
            answered = candidate is None
            if candidate is not None:
                offered.append(candidate)
        elif event == "skip" and offered:
            steps.skip(lambda other: other % 2 == 0)
        elif not answered and event == "untried":
            steps.untried()
            answered = True
        elif not answered and event == "again":
            steps.try_same_again()
            answered = True
        assert 0 <= steps.attempts <= MAX_ATTEMPTS
    assert offered == sorted(offered)
    assert len(offered) <= len(set(offered)) + 1


def test_the_retry_budget_starts_with_what_it_has_and_ends() -> None:
    budget = RetryBudget(part_of_calls=0.5, most=3)
    assert [budget.spend() for _ in range(4)] == [True, True, True, False]


def test_calls_pay_their_part_into_the_retry_budget() -> None:
    budget = RetryBudget(part_of_calls=0.25, most=1)
    assert budget.spend()
    for _ in range(3):
        budget.call()
        assert not budget.spend()
    budget.call()
    assert budget.spend()


def test_the_retry_budget_saves_up_no_more_than_its_most() -> None:
    budget = RetryBudget(part_of_calls=1, most=2)
    for _ in range(100):
        budget.call()
    assert [budget.spend() for _ in range(3)] == [True, True, False]


@given(st.lists(st.booleans(), max_size=300))
def test_retries_are_never_more_than_their_part_of_the_calls_and_the_first_few(events: list[bool]) -> None:
    budget = RetryBudget(part_of_calls=0.2, most=5)
    calls = retries = 0
    for is_call in events:
        if is_call:
            budget.call()
            calls += 1
        else:
            retries += budget.spend()
        assert retries <= 5 + calls / 5 + 1e-9
