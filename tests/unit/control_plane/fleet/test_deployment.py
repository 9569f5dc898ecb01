"""What is asked of an agent, from what is wanted and what it says it does."""

from dataclasses import replace

import pytest
from daalu_wire.v1 import agent_pb2

from control_plane.fleet.deployment import (
    RETRY_CAP_S,
    Asked,
    Deploy,
    Empty,
    Nothing,
    Order,
    Reference,
    Situation,
    Step,
    Stop,
    after_asking,
    decide,
    progress,
)
from control_plane.fleet.facts import Desired

TINY = Reference("tiny", "d1")
WANTED = Order(Desired("tiny", 1), TINY, 100)
NONE_WANTED = Order(Desired(None, 1), None, 100)


def _engine(phase: str, reference: Reference | None = TINY, detail: str = "") -> agent_pb2.EngineSample:
    model = agent_pb2.CatalogueReference()
    if reference is not None:
        model = agent_pb2.CatalogueReference(model_id=reference.model_id, digest=reference.digest)
    value = agent_pb2.EnginePhase.Value(f"ENGINE_PHASE_{phase}")
    return agent_pb2.EngineSample(phase=value, model=model, detail=detail)


def _decide(
    order: Order,
    engine: agent_pb2.EngineSample,
    asked: Asked | None = None,
    known: tuple[Reference, ...] = (TINY,),
    now_s: float = 1_000.0,
) -> Step:
    return decide(Situation(order, engine, known, asked), now_s)


@pytest.mark.parametrize("phase", ["STARTING", "LOADING", "READY", "DRAINING", "BACKING_OFF"])
def test_an_engine_at_work_on_the_wanted_model_is_left_alone(phase: str) -> None:
    assert _decide(WANTED, _engine(phase)) == Nothing()


@pytest.mark.parametrize("phase", ["UNSPECIFIED", "STOPPED", "FAILED"])
def test_a_wanted_model_that_does_not_run_is_deployed(phase: str) -> None:
    assert _decide(WANTED, _engine(phase)) == Deploy(TINY)


@pytest.mark.parametrize("other", [Reference("large", "d1"), Reference("tiny", "d0")])
def test_another_model_or_another_version_of_it_is_replaced_once_it_is_empty(other: Reference) -> None:
    assert _decide(WANTED, _engine("READY", other)) == Empty(0)
    assert _decide(WANTED, _engine("DRAINING", other)) == Deploy(TINY)


LARGE = Reference("large", "d1")


@pytest.mark.parametrize(
    "calls",
    [agent_pb2.EngineSample(open_calls=3), agent_pb2.EngineSample(running_calls=2, waiting_calls=1)],
)
@pytest.mark.parametrize(("order", "then"), [(WANTED, Deploy(TINY)), (NONE_WANTED, Stop())])
def test_calls_on_an_engine_that_is_to_go_are_waited_for(
    calls: agent_pb2.EngineSample, order: Order, then: Step
) -> None:
    busy = _engine("DRAINING", LARGE)
    busy.MergeFrom(calls)
    assert _decide(order, busy) == Empty(3)
    assert _decide(order, _engine("DRAINING", LARGE)) == then


def test_calls_that_do_not_end_are_waited_for_up_to_the_limit() -> None:
    busy = _engine("DRAINING", LARGE)
    busy.open_calls = 1
    waiting = Situation(WANTED, busy, (TINY,), None, emptying_since_s=1_000.0, drain_limit_s=60.0)
    assert decide(waiting, 1_059.0) == Empty(1)
    assert decide(waiting, 1_060.0) == Deploy(TINY)


@pytest.mark.parametrize("phase", ["STARTING", "LOADING", "BACKING_OFF", "FAILED"])
def test_an_engine_that_serves_nothing_is_not_waited_for(phase: str) -> None:
    down = _engine(phase, LARGE)
    down.open_calls = 3
    assert _decide(WANTED, down) == Deploy(TINY)


def test_a_model_that_cannot_be_had_drains_nothing() -> None:
    assert isinstance(_decide(WANTED, _engine("READY", LARGE), known=()), Nothing)


def test_progress_counts_the_calls_and_says_what_comes_next() -> None:
    busy = _engine("DRAINING", LARGE)
    busy.open_calls = 3
    assert (
        progress(Situation(WANTED, busy, (TINY,), None)) == "draining, 3 calls running; then tiny is deployed"
    )
    busy.open_calls = 1
    words = "draining, 1 call running; then the engine is stopped"
    assert progress(Situation(NONE_WANTED, busy, (TINY,), None)) == words


def test_an_engine_that_is_stopping_is_waited_for() -> None:
    assert _decide(WANTED, _engine("STOPPING")) == Nothing()


@pytest.mark.parametrize("phase", ["STARTING", "LOADING", "DRAINING", "BACKING_OFF", "FAILED"])
def test_a_model_that_nobody_wants_is_stopped(phase: str) -> None:
    assert _decide(NONE_WANTED, _engine(phase)) == Stop()


@pytest.mark.parametrize("phase", ["UNSPECIFIED", "STOPPED", "STOPPING"])
def test_nothing_wanted_and_nothing_there_is_right(phase: str) -> None:
    assert _decide(NONE_WANTED, _engine(phase, None)) == Nothing()


@pytest.mark.parametrize(
    ("order", "known", "words"),
    [
        (replace(WANTED, reference=None), (TINY,), "not in the control plane's catalogue"),
        (WANTED, (), "does not know tiny"),
        (WANTED, (Reference("tiny", "d2"),), "differs"),
    ],
)
def test_a_disagreement_of_catalogues_is_told_and_not_asked_for(
    order: Order, known: tuple[Reference, ...], words: str
) -> None:
    step = _decide(order, _engine("STOPPED", None), known=known)
    assert isinstance(step, Nothing)
    assert step.problem is not None
    assert words in step.problem


def test_a_failure_is_final_for_this_wish_and_this_daemon() -> None:
    failed = Asked(WANTED, 1, 0.0, "out of memory")
    assert _decide(WANTED, _engine("FAILED"), failed) == Nothing("out of memory")
    assert _decide(WANTED, _engine("STOPPED"), failed) == Nothing("out of memory")


def test_an_engine_that_failed_after_it_was_asked_for_is_not_asked_for_again() -> None:
    step = _decide(WANTED, _engine("FAILED", detail="no such directory"), Asked(WANTED, 1, 0.0))
    assert step == Nothing("no such directory")


@pytest.mark.parametrize(
    "order",
    [replace(WANTED, desired=Desired("tiny", 2)), replace(WANTED, daemon_started_unix_ms=200)],
)
def test_a_new_wish_or_a_new_daemon_is_a_new_try(order: Order) -> None:
    assert _decide(order, _engine("FAILED"), Asked(WANTED, 5, 5_000.0, "out of memory")) == Deploy(TINY)


def test_asking_again_waits_longer_each_time_up_to_a_cap() -> None:
    asked, waits = None, []
    for _ in range(12):
        asked = after_asking(WANTED, asked, 0.0)
        waits.append(asked.not_before_s)
    assert waits[:3] == [2.0, 4.0, 8.0]
    assert max(waits) == waits[-1] == RETRY_CAP_S
    assert _decide(WANTED, _engine("STOPPED"), asked, now_s=RETRY_CAP_S - 0.1) == Nothing()
    assert _decide(WANTED, _engine("STOPPED"), asked, now_s=RETRY_CAP_S) == Deploy(TINY)


def test_a_new_wish_does_not_wait_for_the_one_before_it() -> None:
    before = Asked(replace(WANTED, desired=Desired("large", 0)), 9, 60.0)
    assert after_asking(WANTED, before, 0.0).times == 1
