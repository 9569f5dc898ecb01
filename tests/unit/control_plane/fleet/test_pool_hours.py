"""Windows of the week by the clock of a zone, its clock changes included."""

from datetime import datetime

import pytest

from control_plane.fleet.pool_hours import BadHours, Window, are_open, zone_of

BERLIN = zone_of("Europe/Berlin")


def _open(window: str, moment: str, zone: str = "Europe/Berlin") -> bool:
    """`moment`: with its offset from UTC."""
    return are_open(
        (Window.parse(window),), zone_of(zone), round(datetime.fromisoformat(moment).timestamp() * 1000)
    )


# 2026-11-27 is a Friday.
@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-11-27T17:59:59+01:00", False),
        ("2026-11-27T18:00:00+01:00", True),
        ("2026-11-28T07:59:59+01:00", True),
        ("2026-11-28T08:00:00+01:00", False),
        ("2026-11-28T18:00:00+01:00", False),
        # Sunday night belongs to no weekday, Monday's begins at 18:00.
        ("2026-11-30T07:00:00+01:00", False),
        ("2026-11-30T18:00:00+01:00", True),
    ],
)
def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins(moment: str, expected: bool) -> None:
    assert _open("mon-fri 18:00-08:00", moment) is expected


def test_a_whole_day_ends_with_it() -> None:
    assert _open("sat,sun 00:00-24:00", "2026-11-29T23:59:59+01:00")
    assert not _open("sat,sun 00:00-24:00", "2026-11-30T00:00:00+01:00")


def test_hours_are_by_the_clock_of_their_zone_not_by_this_hosts() -> None:
    moment = "2026-11-27T12:00:00+00:00"
    assert _open("fri 21:00-22:00", moment, "Asia/Tokyo")
    assert not _open("fri 21:00-22:00", moment, "UTC")


def test_hours_follow_their_zone_when_its_clocks_are_set() -> None:
    # Forward at 02:00 on 2026-03-29, back at 03:00 on 2026-10-25: 22:00 stays 22:00.
    assert _open("daily 22:00-23:00", "2026-03-28T21:30:00+00:00")
    assert _open("daily 22:00-23:00", "2026-03-29T20:30:00+00:00")
    assert not _open("daily 22:00-23:00", "2026-03-29T21:30:00+00:00")
    # 02:30 comes twice, and once not at all.
    for moment in ("2026-10-25T00:30:00+00:00", "2026-10-25T01:30:00+00:00"):
        assert _open("sun 02:00-03:00", moment)
    assert not _open("sun 02:00-03:00", "2026-03-29T00:59:59+00:00")
    assert not _open("sun 02:00-03:00", "2026-03-29T01:00:00+00:00")


def test_several_windows_are_open_where_one_is() -> None:
    windows = (Window.parse("mon 08:00-09:00"), Window.parse("fri 08:00-09:00"))
    moment = round(datetime.fromisoformat("2026-11-27T08:30:00+01:00").timestamp() * 1000)
    assert are_open(windows, BERLIN, moment)
    assert not are_open((), BERLIN, moment)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("mon-fri 18:00-08:00", "mon,tue,wed,thu,fri 18:00-08:00"),
        (" Sat , 10:00-11:00", None),
        ("SAT,sun 10:00 - 11:00", "sat,sun 10:00-11:00"),
        ("fri-mon 00:00-24:00", "mon,fri,sat,sun 00:00-24:00"),
        ("daily 22:00-06:00", "daily 22:00-06:00"),
        ("mon-sun 22:00-06:00", "daily 22:00-06:00"),
    ],
)
def test_a_window_is_kept_as_it_is_read(text: str, kept: str | None) -> None:
    if kept is None:
        with pytest.raises(BadHours):
            Window.parse(text)
    else:
        assert str(Window.parse(text)) == kept
        assert Window.parse(kept) == Window.parse(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "e.g. mon-fri 18:00-08:00"),
        ("mon 8-9", "e.g. mon-fri"),
        ("mon 08:00-08:00", "00:00-24:00 for a whole day"),
        ("mon 24:00-08:00", "00:00-24:00 for a whole day"),
        ("mon 08:60-09:00", "from 00:00 to 24:00"),
        ("mon 08:00-24:01", "from 00:00 to 24:00"),
        ("montag 08:00-09:00", "'montag' is no day"),
        ("mon- 08:00-09:00\nmon 1:00", "is no window"),
    ],
)
def test_what_is_no_window_is_refused_with_what_to_write(text: str, words: str) -> None:
    with pytest.raises(BadHours, match=words):
        Window.parse(text)


@pytest.mark.parametrize(
    "name", ["", "Berlin", "Europe", "../../etc/passwd", "/etc/localtime", "localtime", "posix/UTC"]
)
def test_what_is_no_zone_of_the_list_is_refused(name: str) -> None:
    with pytest.raises(BadHours, match="IANA"):
        zone_of(name)
