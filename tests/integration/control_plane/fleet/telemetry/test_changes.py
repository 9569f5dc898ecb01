"""Changes of an agent's state, in the file and out of it."""

import sqlite3
from pathlib import Path

import pytest

from control_plane.catalogue import Catalogue
from control_plane.fleet import Fleet, Health, Liveness, revoke
from control_plane.fleet.telemetry import Recorder, Reliability, read_reliability
from control_plane.fleet.telemetry.file import TelemetryFile, changes_of
from control_plane.fleet.telemetry.reliability import WINDOW_MS, Span
from control_plane.identifiers import AgentId, TenantId
from control_plane.store import Store, unix_ms
from tests.support.fleet import TICKET_SECRET, enrol, eventually, new_scripted_agent, running
from tests.support.fleet_authority import ShortLivedAuthority
from tests.support.telemetry import AGENT, TENANT, agent_facts, card_sample

HOUR_MS = 3_600_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "telemetry.db"


def _read(path: Path, tenant_id: TenantId = TENANT, agent_id: AgentId = AGENT) -> Reliability:
    return read_reliability(path, tenant_id, agent_id, unix_ms())


def _watched_since(path: Path, begin_ms: int) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE watched SET begin_ms = ?", (begin_ms,))
    connection.close()


def test_what_happened_is_there_again_after_a_restart(path: Path) -> None:
    now = unix_ms()
    recorder = Recorder(path)
    recorder.liveness_changed(agent_facts(), Liveness.LIVE, now - 4 * HOUR_MS)
    recorder.liveness_changed(agent_facts(), Liveness.OUT, now - 2 * HOUR_MS)
    recorder.liveness_changed(agent_facts(), Liveness.LIVE, now - HOUR_MS)
    recorder.health_changed(agent_facts(), Health.CRITICAL, "92 °C", now - HOUR_MS)
    recorder.close()
    _watched_since(path, now - 4 * HOUR_MS)
    found = _read(path)
    assert found.uptime == pytest.approx(0.75, abs=0.01)
    assert (found.outages_count, found.faults_count, found.warnings_count) == (1, 1, 0)


def test_no_tenant_sees_how_anothers_agent_fared(path: Path) -> None:
    now = unix_ms()
    recorder = Recorder(path)
    recorder.liveness_changed(agent_facts(), Liveness.LIVE, now - HOUR_MS)
    recorder.health_changed(agent_facts(), Health.CRITICAL, "92 °C", now - HOUR_MS)
    recorder.close()
    stranger = _read(path, TenantId("ten-2"))
    assert (stranger.uptime, stranger.faults_count) == (None, 0)


def test_old_changes_are_pruned_but_for_what_still_holds(path: Path) -> None:
    now = unix_ms()
    recorder = Recorder(path)
    for days, liveness in ((90, Liveness.LIVE), (80, Liveness.OUT), (70, Liveness.LIVE), (10, Liveness.OUT)):
        recorder.liveness_changed(agent_facts(), liveness, now - days * 24 * HOUR_MS)
    recorder.close()
    file = TelemetryFile.open(path, now)
    file.prune_changes(now - 2 * WINDOW_MS)
    file.close()
    with sqlite3.connect(path) as connection:
        kept = changes_of(connection, TENANT, AGENT, Span(0, now))
    connection.close()
    assert [(now - change.at_unix_ms) // (24 * HOUR_MS) for change in kept] == [70, 10]
    _watched_since(path, 0)
    assert _read(path).uptime == pytest.approx(20 / 30, abs=0.001)


def test_where_nothing_was_recorded_nothing_is_said(path: Path) -> None:
    assert _read(path).uptime is None


async def test_a_fleet_tells_of_every_change(
    store: Store, authority: ShortLivedAuthority, path: Path
) -> None:
    recorder = Recorder(path)
    fleet = Fleet(store, authority, TICKET_SECRET, Catalogue(), record=recorder)
    async with new_scripted_agent(authority) as agent, running(fleet):
        agent.behaviour.card_samples = [card_sample(temperature_celsius=60)]
        agent_id = await enrol(store, agent)
        await eventually(lambda: _health(fleet, agent_id) is Health.GOOD)
        agent.behaviour.card_samples = [card_sample(temperature_celsius=95)]
        await eventually(lambda: _health(fleet, agent_id) is Health.CRITICAL)
        tenant_id = fleet.view.by_id[agent_id].tenant_id
        await revoke(store, agent_id, "operator")
        await eventually(lambda: fleet.status(agent_id) is None)
    recorder.close()
    with sqlite3.connect(path) as connection:
        rows = connection.execute(
            "SELECT subject, state, words FROM change WHERE tenant_id = ? AND agent_id = ? ORDER BY id",
            (tenant_id, agent_id),
        ).fetchall()
    connection.close()
    presence = [state for subject, state, _ in rows if subject == "presence"]
    assert presence == ["awaited", "up", "left"]
    health = {state: words for subject, state, words in rows if subject == "health"}
    assert health["good"] == ""
    assert "95 °C" in health["critical"]
    found = _read(path, tenant_id, agent_id)
    assert (found.uptime, found.outages_count, found.faults_count) == (1.0, 0, 1)


def _health(fleet: Fleet, agent_id: AgentId) -> Health | None:
    view = fleet.view.by_id.get(agent_id)
    return None if view is None else view.health
