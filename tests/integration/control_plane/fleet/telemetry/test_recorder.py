"""From samples to the file and back: what is kept, what is not, and what a bad disk does."""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from daalu_wire.v1 import agent_pb2

from control_plane.fleet.telemetry import ENGINE, History, Limits, Recorder, SubjectHistory
from control_plane.fleet.telemetry.file import PAGE_BYTES
from control_plane.fleet.telemetry.recorder import MAX_SUBJECTS
from control_plane.fleet.telemetry.tiers import DAY_MS, HOUR_MS, MINUTE_MS, QUARTER, RAW, TEN_SECONDS
from control_plane.identifiers import AgentId, TenantId
from control_plane.store import unix_ms
from tests.support.telemetry import CARD, Reading, agent_facts, card_sample, history, record, sample


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "telemetry.db"


def _eventually(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, condition.__qualname__
        time.sleep(0.01)


def _one(found: History) -> SubjectHistory:
    (subject,) = found.subjects
    return subject


def _warm(celsius: float) -> agent_pb2.TelemetrySample:
    return sample(card_sample(temperature_celsius=celsius))


def _now_at(step_ms: int) -> int:
    """Now, at the beginning of a step."""
    return unix_ms() // step_ms * step_ms


def test_raw_samples_come_back_as_they_were_with_absent_readings_absent(path: Path) -> None:
    now = unix_ms()
    unsupported = Reading(unsupported=True)
    record(
        path,
        (now, sample(card_sample(temperature_celsius=41, power_watts=unsupported))),
        (now + 2_000, sample(card_sample(temperature_celsius=Reading(error="x"), utilisation_percent=0))),
    )
    found = history(path, now - MINUTE_MS, now + MINUTE_MS)
    card = _one(found)
    assert (found.step_ms, card.subject, card.at_unix_ms) == (0, CARD, [now, now + 2_000])
    assert card.values["temperature_celsius"].mean == [41, None]
    assert card.values["utilisation_percent"].mean == [None, 0]
    assert card.values["power_watts"].mean == [None, None]


def test_roll_ups_have_least_mean_and_most_of_their_step(path: Path) -> None:
    begins = _now_at(TEN_SECONDS.step_ms) - MINUTE_MS
    record(path, *((begins + 2_000 * number, _warm(40 + number)) for number in range(10)))
    found = history(path, begins, begins + 30_000, most_points=10)
    values = _one(found).values["temperature_celsius"]
    assert found.step_ms == 10_000
    assert _one(found).at_unix_ms == [begins, begins + 10_000, begins + 20_000]
    assert (values.least, values.mean, values.most) == ([40, 45, None], [42, 47, None], [44, 49, None])


def test_every_tier_has_every_sample(path: Path) -> None:
    begins = _now_at(QUARTER.step_ms) - DAY_MS
    record(path, *((begins + 20_000 * number, _warm(number)) for number in range(45)))
    for points, step_ms in ((100, 10_000), (20, MINUTE_MS), (3, QUARTER.step_ms)):
        found = history(path, begins, begins + QUARTER.step_ms, most_points=points)
        values = _one(found).values["temperature_celsius"]
        assert found.step_ms == step_ms
        assert min(value for value in values.least if value is not None) == 0
        assert max(value for value in values.most if value is not None) == 44


def test_a_gap_is_a_gap_in_every_tier(path: Path) -> None:
    begins = _now_at(MINUTE_MS) - 10 * MINUTE_MS
    before = [(begins + 2_000 * number, _warm(50)) for number in range(5)]
    after = [(begins + 60_000 + 2_000 * number, _warm(50)) for number in range(5)]
    record(path, *before, *after)
    raw = _one(history(path, begins, begins + 2 * MINUTE_MS)).values["temperature_celsius"].mean
    assert raw == [50] * 5 + [None] + [50] * 5
    rolled = _one(history(path, begins, begins + 2 * MINUTE_MS, most_points=20))
    assert rolled.values["temperature_celsius"].mean == [50, None, None, None, None, None, 50] + [None] * 5


def test_a_card_and_the_engine_are_apart(path: Path) -> None:
    now = unix_ms()
    engine = agent_pb2.EngineSample(phase=agent_pb2.ENGINE_PHASE_READY, running_calls=3)
    cards = [card_sample(f"GPU-{index}", temperature_celsius=40 + index) for index in range(2)]
    for index, card in enumerate(cards):
        card.index = index
    record(path, (now, sample(*reversed(cards), engine=engine)))
    found = history(path, now - 1_000, now + 1_000)
    assert [(each.subject, each.index) for each in found.subjects] == [
        ("GPU-0", 0),
        ("GPU-1", 1),
        (ENGINE, None),
    ]
    assert found.subjects[2].values["running_calls"].mean == [3]


def test_no_tenant_sees_another_tenants_series_whatever_it_asks_for(path: Path) -> None:
    now = unix_ms()
    # Of the same agent's name and the same card, as a liar would have it.
    for tenant, celsius in (("ten-1", 41), ("ten-2", 82)):
        record(path, (now, _warm(celsius)), facts=agent_facts("agt-1", tenant))
    for tenant, celsius in (("ten-1", 41), ("ten-2", 82)):
        for points in (2, 10, 1_000):
            found = history(path, now - HOUR_MS, now + 1_000, points, tenant_id=TenantId(tenant))
            values = _one(found).values["temperature_celsius"]
            assert {value for value in values.mean if value is not None} == {celsius}
    assert history(path, now - HOUR_MS, now + 1_000, tenant_id=TenantId("ten-3")).subjects == []
    assert history(path, now - HOUR_MS, now + 1_000, agent_id=AgentId("agt-2")).subjects == []


def test_a_restart_goes_on_within_the_step_that_it_interrupted(path: Path) -> None:
    begins = _now_at(QUARTER.step_ms) - HOUR_MS
    record(path, (begins, _warm(10)), (begins + 2_000, _warm(20)))
    record(path, (begins + 4_000, _warm(60)))
    values = _one(history(path, begins, begins + 900_000, most_points=3)).values["temperature_celsius"]
    assert (values.least[0], values.mean[0], values.most[0]) == (10, 30, 60)
    assert len(_one(history(path, begins, begins + 10_000)).at_unix_ms) == 3


def test_what_is_older_than_its_tier_is_pruned_and_a_coarser_one_answers(path: Path) -> None:
    now = _now_at(QUARTER.step_ms)
    old = now - RAW.keep_ms - HOUR_MS
    record(path, (old, _warm(50)), (now, _warm(60)))
    found = history(path, old, old + MINUTE_MS)
    assert found.step_ms == TEN_SECONDS.step_ms
    assert _one(found).values["temperature_celsius"].mean[0] == 50
    assert history(path, now - MINUTE_MS, now + 1_000).step_ms == 0


def test_the_file_stays_within_its_limit_and_the_newest_is_kept(path: Path) -> None:
    limit_bytes = 250_000
    now = _now_at(MINUTE_MS)
    recorder = Recorder(path, Limits(file_bytes=limit_bytes))
    facts = [agent_facts(f"agt-{number}") for number in range(20)]
    # Random figures, so that nothing is made small.
    for step in range(4 * 60, 0, -1):
        for number, each in enumerate(facts):
            recorder.sampled(
                each,
                sample(
                    card_sample(temperature_celsius=number * step % 97, power_watts=step * 1.1 * number % 71)
                ),
                now - step * 60_000,
            )

    def used_bytes() -> int:
        with sqlite3.connect(path) as connection:
            pages, free, size = (
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
        return int(pages - free) * int(size)

    _eventually(lambda: not recorder.waiting_count)
    recorder._save_at_s = 0.0
    _eventually(lambda: path.exists() and used_bytes() > limit_bytes)

    # Each look at the size comes with a save; here they come as fast as the thread turns.
    def shrunk() -> bool:
        recorder._save_at_s = 0.0
        return used_bytes() <= limit_bytes

    _eventually(shrunk, within_s=60)
    recorder.sampled(facts[0], _warm(33), now)
    recorder.close()
    found = history(path, now - MINUTE_MS, now + 1_000, agent_id=facts[0].agent_id)
    assert _one(found).values["temperature_celsius"].mean[-1] == 33
    begins = now - 4 * HOUR_MS
    assert history(path, begins, begins + 60_000, agent_id=facts[0].agent_id).step_ms > 0


def test_a_stuck_disk_keeps_nobody_waiting_drops_what_is_too_much_and_heals(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = unix_ms()
    record(path, (now - 60_000, _warm(30)))
    recorder = Recorder(path, Limits(waiting_samples=100))
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")

    def met_the_lock() -> bool:
        recorder.sampled(agent_facts(), _warm(40), now)
        return recorder._failing

    with caplog.at_level(logging.WARNING):
        # From then on it takes no samples.
        _eventually(met_the_lock)
        for _ in range(200):
            before_s = time.monotonic()
            recorder.sampled(agent_facts(), _warm(40), now)
            assert time.monotonic() - before_s < 0.5
        assert recorder.dropped_count >= 100
        blocker.execute("ROLLBACK")
        blocker.close()
        _eventually(lambda: not recorder.waiting_count and not recorder._failing)
    recorder.close()
    assert "samples were dropped: look at the disk" in caplog.text
    assert caplog.text.count("samples were dropped") == 1
    assert "telemetry cannot be written, trying again" in caplog.text
    found = _one(history(path, now - 120_000, now + 1_000)).values["temperature_celsius"].mean
    assert found[0] == 30
    assert 40 in found


def test_closing_does_not_wait_for_a_disk_that_is_stuck(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control_plane.fleet.telemetry.recorder.CLOSE_TIMEOUT_S", 0.2)
    now = unix_ms()
    record(path, (now, _warm(30)))
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    recorder = Recorder(path)
    recorder.sampled(agent_facts(), _warm(40), now)
    recorder.close()
    assert "telemetry of the last seconds is lost" in caplog.text
    blocker.execute("ROLLBACK")
    blocker.close()
    (thread,) = [each for each in threading.enumerate() if each.name == "telemetry-writer"]
    thread.join(20)
    assert not thread.is_alive()


def test_a_damaged_file_is_put_aside_and_history_begins_anew(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(b"this is no database" * 1_000)
    now = unix_ms()
    record(path, (now, _warm(40)))
    assert "it is put aside as telemetry.db.aside-" in caplog.text
    assert len(list(path.parent.glob("telemetry.db.aside-*"))) == 1
    assert _one(history(path, now - 1_000, now + 1_000)).values["temperature_celsius"].mean == [40]


def test_a_file_that_is_damaged_in_the_middle_is_put_aside_too(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = unix_ms()
    record(path, *((now - 600_000 + 2_000 * number, _warm(number)) for number in range(300)))
    size = path.stat().st_size
    with path.open("r+b") as file:
        # What says that it is a database stays.
        file.seek(PAGE_BYTES)
        file.write(b"\xff" * (size - PAGE_BYTES))
    recorder = Recorder(path)
    _eventually(lambda: "it is put aside as telemetry.db.aside-" in caplog.text)
    recorder.sampled(agent_facts(), _warm(77), now)
    _eventually(lambda: not recorder.waiting_count and not recorder._failing)
    recorder.close()
    assert _one(history(path, now - 1_000, now + 1_000)).values["temperature_celsius"].mean == [77]


def test_a_newer_versions_file_is_put_aside(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    record(path, (unix_ms(), _warm(40)))
    assert "a newer version of Daalu wrote it, 99" in caplog.text


def test_a_damaged_chunk_is_left_out_and_the_rest_is_shown(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = unix_ms()
    record(path, (now - RAW.span_ms, _warm(30)), (now, _warm(40)))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE chunk SET rows = x'00' WHERE id IN (SELECT min(id) FROM chunk)")
    connection.close()
    found = history(path, now - 2 * RAW.span_ms, now + 1_000)
    assert _one(found).values["temperature_celsius"].mean == [40]
    assert "no chunk of telemetry" in caplog.text or "a chunk of telemetry of version" in caplog.text


def test_an_agent_cannot_make_up_any_number_of_cards(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    now = unix_ms()
    heard = [
        (now, sample(*(card_sample(f"GPU-{turn}-{card}", temperature_celsius=1) for card in range(64))))
        for turn in range(4)
    ]
    record(path, *heard)
    assert len(history(path, now - 1_000, now + 1_000).subjects) == MAX_SUBJECTS
    assert "no more are recorded" in caplog.text


def test_a_card_that_moved_to_another_slot_keeps_its_history(path: Path) -> None:
    now = unix_ms()
    moved = card_sample(temperature_celsius=50)
    moved.index = 3
    record(path, (now, _warm(40)), (now + 2_000, sample(moved)))
    card = _one(history(path, now - 1_000, now + 5_000))
    assert (card.index, card.values["temperature_celsius"].mean) == (3, [40, 50])


def test_where_nothing_was_ever_recorded_there_is_no_history(path: Path) -> None:
    assert history(path, 0, 1_000).subjects == []
