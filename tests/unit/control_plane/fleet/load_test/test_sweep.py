"""What may be asked of a load test, and of which card."""

from dataclasses import replace
from typing import Any

import pytest

from control_plane.access import Invalid
from control_plane.fleet import Health, Liveness
from control_plane.fleet.load_test import Sweep
from control_plane.fleet.load_test.step import StepFigures, UnreadableFigures
from control_plane.fleet.load_test.sweep import loadable_engine
from tests.support.gateway import agent_view, engine_view


def test_the_default_is_within_the_caps() -> None:
    Sweep().check()


@pytest.mark.parametrize(
    "sweep",
    [
        Sweep(()),
        Sweep((0, 1)),
        Sweep((2, 1)),
        Sweep((1, 1)),
        Sweep((1, 257)),
        Sweep(tuple(range(1, 14))),
        Sweep(input_tokens=0),
        Sweep(output_tokens=8_193),
        Sweep(requests_per_call=0),
        Sweep((256,), requests_per_call=16),
        Sweep(duration_s=0),
        Sweep(duration_s=3_601),
    ],
)
def test_beyond_the_caps_is_refused(sweep: Sweep) -> None:
    with pytest.raises(Invalid):
        sweep.check()


def test_an_idle_ready_card_may_be_put_under_load() -> None:
    agent = agent_view("own")
    assert loadable_engine(agent, Sweep()) == agent.engine


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"liveness": Liveness.SUSPECT}, "not in reach"),
        ({"health": Health.CRITICAL}, "critical"),
        ({"engine": None}, "deploy a model"),
        ({"engine": engine_view(ready=False)}, "deploy a model"),
        ({"engine": engine_view(draining=True)}, "drained"),
        ({"engine": engine_view(running_calls=1)}, "1 calls"),
        ({"engine": engine_view(waiting_calls=3)}, "3 calls"),
        ({"engine": engine_view(context_tokens=319)}, "320 tokens"),
    ],
)
def test_a_card_that_may_not_be_put_under_load_says_why(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        loadable_engine(agent_view("own", **changes), Sweep())


def test_an_agent_that_is_not_in_the_view_is_out_of_reach() -> None:
    with pytest.raises(Invalid, match="not in reach"):
        loadable_engine(None, Sweep())


_SAID = {
    "max_concurrency": 2,
    "completed": 8,
    "failed": 0,
    "error": None,
    "duration": 1.5,
    "request_throughput": 5.3,
    "output_throughput": 106.0,
} | {f"p{each}_{measure}_ms": 50.0 for each in (50, 90, 99) for measure in ("ttft", "itl")}


def test_the_clients_figures_are_taken_as_they_are() -> None:
    step = StepFigures.of(_SAID)
    assert (step.concurrency, step.output_tokens_per_s, step.itl_p99_ms) == (2, 106.0, 50.0)
    assert replace(step, failed=1) == StepFigures.of(_SAID | {"failed": 1})


@pytest.mark.parametrize(
    "change", [{"duration": float("nan")}, {"p50_itl_ms": -1}, {"completed": "x"}, {"failed": None}]
)
def test_figures_that_are_no_measures_are_not_taken(change: dict[str, object]) -> None:
    with pytest.raises(UnreadableFigures):
        StepFigures.of(_SAID | change)
