import itertools

from control_plane.console.bars import bars
from control_plane.console.chart import WIDTH


def test_nothing_has_no_height_and_little_is_seen() -> None:
    nothing, little, most = bars([("a", 0), ("b", 1), ("c", 10**15)])
    assert nothing.height == 0
    assert 1 < little.height < most.height
    assert most.y + most.height == little.y + little.height


def test_bars_share_the_width_and_do_not_touch() -> None:
    drawn = bars([(str(day), day) for day in range(31)])
    assert all(before.x + before.width < after.x for before, after in itertools.pairwise(drawn))
    assert drawn[-1].x + drawn[-1].width <= WIDTH


def test_a_month_of_reversals_alone_is_drawn_as_nothing() -> None:
    assert [each.height for each in bars([("a", -5), ("b", 0)])] == [0, 0]
    assert bars([]) == []
