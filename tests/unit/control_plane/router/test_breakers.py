"""Breakers: when an agent is left alone, and for how long."""

import pytest

from control_plane.identifiers import AgentId
from control_plane.router import Breakers
from control_plane.router.breakers import FAILURES_TO_OPEN, FIRST_PAUSE_S, LONGEST_PAUSE_S

AGENT, OTHER = AgentId("agt-a"), AgentId("agt-b")
FAILS = [("failed", 0.0)] * FAILURES_TO_OPEN


@pytest.mark.parametrize(
    ("events", "at_s", "is_open"),
    [
        ([], 0.0, False),
        (FAILS[1:], 0.0, False),
        (FAILS, 0.0, True),
        (FAILS, FIRST_PAUSE_S - 0.01, True),
        (FAILS, FIRST_PAUSE_S, False),
        # One that serves in between begins to count anew.
        ([*FAILS[1:], ("served", 0.0), *FAILS[1:]], 0.0, False),
        ([*FAILS, ("served", 1.0)], 1.0, False),
        ([*FAILS, ("served", 1.0), *FAILS[1:]], 1.0, False),
        ([*FAILS, ("forget", 1.0)], 1.0, False),
        # Tried again after its pause, it fails once more: twice as long.
        ([*FAILS, ("failed", 10.0)], 10.0 + 2 * FIRST_PAUSE_S - 0.01, True),
        ([*FAILS, ("failed", 10.0)], 10.0 + 2 * FIRST_PAUSE_S, False),
        ([*FAILS, ("failed", 10.0), ("served", 30.0), *FAILS[1:]], 30.0, False),
        # However often it fails, the pause has its limit.
        ([*FAILS, *[("failed", 10.0)] * 5_000], 10.0 + LONGEST_PAUSE_S - 0.01, True),
        ([*FAILS, *[("failed", 10.0)] * 5_000], 10.0 + LONGEST_PAUSE_S, False),
    ],
)
def test_a_breaker_opens_after_failures_in_a_row_and_closes_after_its_pause(
    events: list[tuple[str, float]], at_s: float, is_open: bool
) -> None:
    breakers = Breakers()
    for event, now_s in events:
        if event == "failed":
            breakers.failed(AGENT, now_s)
        elif event == "served":
            breakers.served(AGENT)
        else:
            breakers.forget(AGENT)
    assert (AGENT in breakers.open_at(at_s)) is is_open


def test_one_agents_failures_are_not_anothers() -> None:
    breakers = Breakers()
    for _ in range(FAILURES_TO_OPEN):
        breakers.failed(AGENT, 0.0)
    breakers.failed(OTHER, 0.0)
    breakers.served(OTHER)
    assert breakers.open_at(0.0) == {AGENT}


def test_what_is_not_known_is_served_or_forgotten_without_an_error() -> None:
    breakers = Breakers()
    breakers.served(AGENT)
    breakers.forget(AGENT)
    assert breakers.open_at(0.0) == frozenset()
