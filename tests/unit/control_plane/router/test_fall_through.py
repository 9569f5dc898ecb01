"""Falling through a plan."""

from control_plane.router import MAX_ATTEMPTS, FallThrough


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
