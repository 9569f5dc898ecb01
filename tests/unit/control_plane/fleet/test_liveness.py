"""Liveness: the table's edges, and the promise that no history breaks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.fleet import Liveness
from control_plane.fleet.liveness import Contact, at, next_look_s, probed, sampled

LIVE_AT_0 = probed(sampled(Contact(), 0.0), 0.0)


def test_an_agent_that_was_never_heard_stays_so() -> None:
    assert at(Contact(), 1e9) == Contact()


def test_a_sample_alone_does_not_bring_an_agent_in() -> None:
    assert sampled(Contact(), 1.0).liveness is Liveness.NEVER


def test_a_probe_alone_does_not_bring_an_agent_in() -> None:
    assert probed(Contact(), 1.0).liveness is Liveness.NEVER


def test_a_sample_and_a_probe_make_it_live() -> None:
    assert LIVE_AT_0.liveness is Liveness.LIVE


@pytest.mark.parametrize(
    ("silence_s", "expected"),
    [(9.9, Liveness.LIVE), (10.0, Liveness.SUSPECT), (14.9, Liveness.SUSPECT), (15.0, Liveness.OUT)],
)
def test_silence_is_judged_at_its_limits(silence_s: float, expected: Liveness) -> None:
    assert at(LIVE_AT_0, silence_s).liveness is expected


def test_a_suspect_is_live_again_by_a_sample_alone() -> None:
    assert sampled(at(LIVE_AT_0, 12.0), 12.5).liveness is Liveness.LIVE


def test_an_agent_that_was_out_needs_a_sample_and_then_a_probe() -> None:
    out = at(LIVE_AT_0, 20.0)
    heard = sampled(out, 21.0)
    assert heard.liveness is Liveness.OUT
    assert heard.wants_probe
    assert probed(heard, 21.5).liveness is Liveness.LIVE


def test_a_long_silence_counts_even_when_nobody_looked_during_it() -> None:
    assert sampled(LIVE_AT_0, 100.0).liveness is Liveness.OUT


def test_a_probe_beside_a_stale_sample_does_not_count() -> None:
    assert probed(sampled(Contact(), 0.0), 10.0).liveness is Liveness.NEVER


def test_the_next_look_is_when_time_alone_changes_something() -> None:
    assert next_look_s(LIVE_AT_0) == 10.0
    assert next_look_s(at(LIVE_AT_0, 10.0)) == 15.0
    assert next_look_s(at(LIVE_AT_0, 15.0)) == float("inf")


@given(
    st.lists(st.tuples(st.floats(0.0, 30.0), st.sampled_from([at, sampled, probed])), max_size=60),
    st.floats(0.0, 60.0),
)
def test_an_agent_silent_for_15_s_is_never_routed_to(steps: list, later_s: float) -> None:  # type: ignore[type-arg]
    contact, now_s, heard_s, probed_since_loss = Contact(), 0.0, None, False
    for wait_s, step in steps:
        now_s += wait_s
        if heard_s is not None and now_s - heard_s >= 15.0:
            probed_since_loss = False
        contact = step(contact, now_s)
        if step is sampled:
            heard_s = now_s
        probed_since_loss |= step is probed and heard_s is not None and now_s - heard_s < 10.0
        routed = contact.liveness in (Liveness.LIVE, Liveness.SUSPECT)
        assert not routed or probed_since_loss
    seen = at(contact, now_s + later_s)
    if heard_s is None or now_s + later_s - heard_s >= 15.0:
        assert seen.liveness in (Liveness.NEVER, Liveness.OUT)
