"""Ids: sortable by creation, and one of a kind."""

import re
import time

import pytest

from control_plane.identifiers import new_call_id


def test_an_id_is_its_kind_and_26_characters_of_crockfords_base_32() -> None:
    assert re.fullmatch(r"call-[0-7][0-9a-hjkmnp-tv-z]{25}", new_call_id())


def test_ids_sort_by_the_millisecond_of_their_creation(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for milliseconds in (1, 31, 32, 1_023, 1_024, 1_794_300_000_000, 1_794_300_000_001, (1 << 48) - 1):
        monkeypatch.setattr(time, "time_ns", lambda milliseconds=milliseconds: milliseconds * 1_000_000)
        made.append(new_call_id())
    assert made == sorted(made)


def test_ids_of_one_millisecond_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_794_300_000_000_000_000)
    assert len({new_call_id() for _ in range(10_000)}) == 10_000
