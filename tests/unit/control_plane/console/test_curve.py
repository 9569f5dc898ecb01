"""The throughput-latency curve."""

from dataclasses import dataclass

from control_plane.console.curve import HEIGHT, WIDTH, curve


@dataclass(frozen=True)
class _Step:
    concurrency: int
    output_tokens_per_s: float
    ttft_p90_ms: float


STEPS = [_Step(1, 50.0, 40.0), _Step(4, 180.0, 60.0), _Step(8, 190.0, 400.0)]


def test_more_tokens_are_further_right_and_a_longer_wait_is_higher() -> None:
    drawn = curve(STEPS, None)
    assert drawn is not None
    xs, ys = [point.x for point in drawn.points], [point.y for point in drawn.points]
    assert xs == sorted(xs)
    assert ys == sorted(ys, reverse=True)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in zip(xs, ys, strict=True))


def test_the_knee_is_marked_and_no_other_point() -> None:
    drawn = curve(STEPS, 4)
    assert drawn is not None
    assert [point.concurrency for point in drawn.points if point.is_knee] == [4]


def test_two_tests_share_their_axes() -> None:
    alone = curve(STEPS, None)
    beside = curve(STEPS, None, [_Step(1, 380.0, 800.0)])
    assert alone is not None
    assert beside is not None
    assert alone.earlier_path == ""
    assert beside.most_ms > 800
    # Half as far: the other test brought twice as many tokens.
    assert beside.points[-1].x < alone.points[-1].x


def test_before_the_first_step_there_is_no_curve() -> None:
    assert curve([], None) is None


def test_steps_that_measured_nothing_stay_on_the_page() -> None:
    drawn = curve([_Step(1, 0.0, 0.0)], None)
    assert drawn is not None
    assert drawn.points[0].x >= 0
