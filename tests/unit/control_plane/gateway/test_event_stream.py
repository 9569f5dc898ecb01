"""Events out of bytes, in every form that vendors send."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.gateway.event_stream import EventReader
from control_plane.gateway.metering import StreamTooLarge

MIXED = (
    ": a comment\r\n\r\n"
    "event: message\r\nid: 7\r\ndata: one\r\n\r\n"
    "data:two\n\n"
    "\n\n"
    "data: {\ndata:   three\ndata: }\n\n"
    "retry: 3\n\n"
    "data: ☃🌍\r\n\n"
).encode()
EVENTS = [b"one", b"two", b"{\n  three\n}", "☃🌍".encode()]


def test_comments_line_ends_and_other_fields_make_no_difference() -> None:
    assert EventReader(1000).feed(MIXED) == EVENTS


@given(st.lists(st.integers(0, len(MIXED)), max_size=20))
def test_however_the_bytes_are_split_the_same_events_come_out(cuts: list[int]) -> None:
    reader = EventReader(1000)
    places = sorted({0, len(MIXED), *cuts})
    pieces = [MIXED[begin:end] for begin, end in itertools.pairwise(places)]
    assert [event for piece in pieces for event in reader.feed(piece)] == EVENTS


def test_the_event_that_a_stream_ends_in_needs_no_blank_line() -> None:
    reader = EventReader(1000)
    assert reader.feed(b"data: last\r\ndata: words") == []
    assert reader.end() == [b"last\nwords"]
    assert reader.end() == []


@pytest.mark.parametrize("piece", [b"x" * 50, b"data: xxx\n" * 5])
def test_an_event_without_an_end_is_given_up_on_at_its_limit(piece: bytes) -> None:
    reader = EventReader(100)
    assert reader.feed(piece) + reader.feed(piece) == []
    with pytest.raises(StreamTooLarge, match="an event of more than 100 bytes"):
        reader.feed(piece)


def test_comments_alone_never_fill_it() -> None:
    reader = EventReader(100)
    for _ in range(1000):
        assert reader.feed(b": still here\n\n") == []
