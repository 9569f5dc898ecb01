from control_plane.console.chart import chart

SPAN = (0, 320)


def test_a_gap_is_a_gap_and_no_line_to_zero() -> None:
    drawn = chart("Power", "watts", [0, 160, 320], [50.0, None, 50.0], span=SPAN, ceiling=100.0)
    assert drawn.path.count("M") == 2
    assert "L" not in drawn.path


def test_what_was_never_known_has_no_line_and_no_range() -> None:
    drawn = chart("Power", "watts", [0, 160], [None, None], span=SPAN)
    assert (drawn.path, drawn.least, drawn.most) == ("", None, None)


def test_only_marks_within_the_span_are_drawn() -> None:
    drawn = chart("Power", "watts", [], [], span=SPAN, marks_unix_ms=[-1, 160, 321])
    assert drawn.marks == [160.0]
