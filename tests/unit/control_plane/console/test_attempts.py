from control_plane.console import attempts
from control_plane.console.attempts import WINDOW_S, FailureLimit


def test_the_limit_is_reached_by_failures_and_ends_with_its_window() -> None:
    limit = FailureLimit(2)
    limit.count("a", 0.0)
    assert not limit.is_reached("a", 1.0)
    limit.count("a", 1.0)
    assert limit.is_reached("a", 2.0)
    assert not limit.is_reached("b", 2.0)
    assert not limit.is_reached("a", WINDOW_S)


def test_what_turned_out_good_does_not_count() -> None:
    limit = FailureLimit(1)
    limit.count("a", 0.0)
    limit.give_back("a")
    assert not limit.is_reached("a", 0.0)


def test_names_without_end_do_not_fill_the_memory() -> None:
    limit = FailureLimit(1)
    for number in range(attempts.MAX_KEYS + 5):
        limit.count(str(number), 0.0)
    assert not limit.is_reached("0", 0.0)
    assert limit.is_reached(str(attempts.MAX_KEYS + 4), 0.0)
