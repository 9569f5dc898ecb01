"""The knee, on curves whose knee is known."""

import pytest

from control_plane.fleet.load_test import StepFigures, find_knee


def _steps(*points: tuple[int, float], failed: dict[int, int] | None = None) -> list[StepFigures]:
    return [
        StepFigures(
            concurrency, 100, (failed or {}).get(concurrency, 0), None, 1, 1, tokens_per_s, 1, 1, 1, 1, 1, 1
        )
        for concurrency, tokens_per_s in points
    ]


def test_a_card_that_saturates_has_its_knee_where_it_reaches_nine_tenths_of_its_best() -> None:
    steps = _steps((1, 100), (2, 195), (4, 380), (8, 640), (16, 690), (32, 700))
    assert find_knee(steps) == 8


def test_just_below_nine_tenths_is_not_the_knee() -> None:
    assert find_knee(_steps((1, 89.9), (2, 90), (4, 100))) == 2


def test_a_card_that_falls_behind_under_load_has_its_knee_before_that() -> None:
    assert find_knee(_steps((1, 100), (2, 200), (4, 150), (8, 80))) == 2


def test_a_card_that_one_call_saturates_has_its_knee_at_one() -> None:
    assert find_knee(_steps((1, 100), (2, 101), (4, 99))) == 1


def test_throughput_that_still_grows_at_the_last_step_has_no_knee() -> None:
    assert find_knee(_steps((1, 100), (2, 200), (4, 400))) is None


def test_steps_of_which_more_than_one_per_cent_failed_do_not_count() -> None:
    steps = _steps((1, 100), (2, 200), (4, 210), (8, 900), failed={8: 2})
    assert find_knee(steps) == 2


def test_one_failure_of_a_hundred_and_one_counts_still() -> None:
    assert find_knee(_steps((1, 100), (2, 100), failed={2: 1})) == 1


@pytest.mark.parametrize("points", [(), ((1, 100.0),)])
def test_fewer_than_two_good_steps_say_nothing(points: tuple[tuple[int, float], ...]) -> None:
    assert find_knee(_steps(*points)) is None


def test_the_order_in_which_steps_ran_does_not_matter() -> None:
    assert find_knee(_steps((8, 640), (1, 100), (32, 650), (2, 195))) == 8
