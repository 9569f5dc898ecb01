"""What Prometheus reads of the fleet: names, units, absent readings, and whose series they are."""

from typing import Any

import pytest
from daalu_wire.v1 import agent_pb2
from prometheus_client.parser import text_string_to_metric_families

from control_plane.fleet import AgentStatus, AgentView, EngineView, FleetView, Liveness
from control_plane.identifiers import AgentId, TenantId
from control_plane.metrics import OPERATORS, CallMeters, MetricsParts, ProcessFigures, Scope, look, render
from control_plane.metrics.agents import CARD_GAUGES
from tests.support.telemetry import Reading, card_sample

ACME, OTHER = TenantId("ten-1"), TenantId("ten-2")
NAMES = {ACME: "acme", OTHER: "other"}


class FixedFleet:
    def __init__(self) -> None:
        self._statuses: dict[AgentId, AgentStatus] = {}
        self.view = FleetView()

    def add(
        self,
        agent: str,
        *cards: agent_pb2.CardSample,
        tenant_id: TenantId = ACME,
        liveness: Liveness = Liveness.LIVE,
        engine: EngineView | None = None,
        said: agent_pb2.EngineSample | None = None,
    ) -> None:
        agent_id = AgentId(f"agt-{agent}")
        view = AgentView(agent_id, tenant_id, agent, "fd00::2", 7400, liveness, engine, False)
        self.view = FleetView(
            {**self.view.by_id, agent_id: view},
            {**self.view.by_tenant, tenant_id: (*self.view.by_tenant.get(tenant_id, ()), view)},
        )
        self._statuses[agent_id] = AgentStatus(
            agent_id=agent_id,
            liveness=liveness,
            heard_unix_ms=5_000,
            sample=agent_pb2.TelemetrySample(cards=cards, engine=said),
            inventory=agent_pb2.GetInventoryResponse(
                host_name="box", cards=[agent_pb2.Card(uuid="GPU-1", name=agent_pb2.TextReading(value="RTX"))]
            ),
            certificate_expires_unix_ms=9_000,
            clock_offset_ms=None,
            desired_model_id=None,
            problems={},
        )

    def status(self, agent_id: AgentId) -> AgentStatus | None:
        return self._statuses.get(agent_id)


def _text(fleet: FixedFleet, scope: Scope = OPERATORS, accept: str = "") -> str:
    parts = MetricsParts(fleet, CallMeters(), lambda: ProcessFigures(1, 2, 3, 4))
    return render(look(parts, scope, NAMES), accept)[0].decode()


def _samples(fleet: FixedFleet, name: str, scope: Scope = OPERATORS) -> list[tuple[dict[str, str], float]]:
    return [
        (sample.labels, sample.value)
        for family in text_string_to_metric_families(_text(fleet, scope))
        for sample in family.samples
        if sample.name == name
    ]


def test_a_card_has_dcgms_names_and_units() -> None:
    fleet = FixedFleet()
    fleet.add("box", card_sample(temperature_celsius=61, memory_used_bytes=2 * 1024**3, power_watts=51.5))
    ((labels, celsius),) = _samples(fleet, "DCGM_FI_DEV_GPU_TEMP")
    assert celsius == 61
    assert labels == {
        "gpu": "0",
        "UUID": "GPU-1",
        "modelName": "RTX",
        "Hostname": "box",
        "tenant": "acme",
        "agent": "box",
        "agent_id": "agt-box",
        "simulated": "false",
    }
    assert [value for _, value in _samples(fleet, "DCGM_FI_DEV_FB_USED")] == [2_048]
    assert [value for _, value in _samples(fleet, "DCGM_FI_DEV_POWER_USAGE")] == [51.5]


def test_a_reading_that_is_not_a_value_has_no_series_and_is_not_0() -> None:
    fleet = FixedFleet()
    card = card_sample(
        temperature_celsius=0, power_watts=Reading(unsupported=True), fan_percent=Reading(error="x")
    )
    fleet.add("box", card)
    assert [value for _, value in _samples(fleet, "DCGM_FI_DEV_GPU_TEMP")] == [0]
    for name in ("DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_FAN_SPEED", "DCGM_FI_DEV_GPU_UTIL"):
        assert _samples(fleet, name) == []


def test_a_silent_agent_has_no_readings_and_is_not_up() -> None:
    fleet = FixedFleet()
    fleet.add("box", card_sample(temperature_celsius=61), liveness=Liveness.OUT)
    assert _samples(fleet, "DCGM_FI_DEV_GPU_TEMP") == []
    assert [value for _, value in _samples(fleet, "daalu_agent_up")] == [0]
    assert _samples(fleet, "daalu_agents") == [({"tenant": "acme", "liveness": "out"}, 1)]
    assert [value for _, value in _samples(fleet, "daalu_agent_last_sample_timestamp_seconds")] == [5]


def test_an_engine_that_does_not_serve_has_no_queue() -> None:
    def engine(*, ready: bool) -> EngineView:
        return EngineView("m", "m", ready, False, 1, 3, 2, 16, "")

    fleet = FixedFleet()
    said = agent_pb2.EngineSample(restarts_count=1)
    fleet.add("loading", engine=engine(ready=False), said=said)
    assert [value for _, value in _samples(fleet, "daalu_engine_ready")] == [0]
    assert _samples(fleet, "daalu_engine_running_calls") == []
    fleet.add("serving", engine=engine(ready=True), said=said)
    assert [value for _, value in _samples(fleet, "daalu_engine_running_calls")] == [3]
    assert _samples(fleet, "daalu_engine_kv_cache_percent") == []


def test_why_a_card_is_slow_and_how_it_is_are_series_of_their_own() -> None:
    card = card_sample(temperature_celsius=61)
    card.lost = "GPU is lost"
    card.throttle.value.reasons.append(agent_pb2.THROTTLE_REASON_HARDWARE_THERMAL)
    fleet = FixedFleet()
    fleet.add("box", card)
    assert [labels["reason"] for labels, _ in _samples(fleet, "daalu_card_throttled")] == ["hardware_thermal"]
    assert [labels["health"] for labels, _ in _samples(fleet, "daalu_card_health")] == ["unknown"]
    assert [value for _, value in _samples(fleet, "daalu_card_lost")] == [1]


def test_a_tenant_sees_its_own_agents_and_nothing_of_the_process() -> None:
    fleet = FixedFleet()
    fleet.add("mine", card_sample(temperature_celsius=61))
    fleet.add("theirs", card_sample(temperature_celsius=82), tenant_id=OTHER)
    text = _text(fleet, Scope(ACME))
    assert 'agent="mine"' in text
    assert "theirs" not in text
    assert "other" not in text
    assert "daalu_store_writes_waiting" not in text
    assert "process_resident_memory_bytes" not in text
    assert "theirs" in _text(fleet)
    assert "theirs" not in _text(fleet, Scope(TenantId("ten-nobody")))


def test_the_operator_sees_what_waits_in_the_process() -> None:
    fleet = FixedFleet()
    for name, value in (
        ("daalu_store_writes_waiting", 1),
        ("daalu_unwritten_calls", 2),
        ("daalu_telemetry_samples_waiting", 3),
        ("daalu_telemetry_samples_dropped_total", 4),
    ):
        assert _samples(fleet, name) == [({}, value)]
    assert _samples(fleet, "process_resident_memory_bytes")


def test_what_an_agent_says_cannot_break_the_text() -> None:
    fleet = FixedFleet()
    evil = 'x"} 1\nDCGM_FI_DEV_GPU_TEMP{UUID="forged'
    cards = [card_sample(evil, temperature_celsius=61), card_sample(evil, temperature_celsius=62)]
    fleet.add("box", *cards, card_sample("G" * 10_000, temperature_celsius=63))
    found = _samples(fleet, "DCGM_FI_DEV_GPU_TEMP")
    # The card that was named twice is there once.
    assert sorted(value for _, value in found) == [62, 63]
    assert {labels["UUID"] for labels, _ in found} == {evil, "G" * 96}


@pytest.mark.parametrize(
    ("accept", "ends"), [("", "\n"), ("application/openmetrics-text; version=1.0.0", "# EOF\n")]
)
def test_both_forms_of_the_text_are_spoken(accept: str, ends: str) -> None:
    fleet = FixedFleet()
    fleet.add("box", card_sample(temperature_celsius=61))
    text = _text(fleet, accept=accept)
    assert text.endswith(ends)
    assert "DCGM_FI_DEV_GPU_TEMP{" in text


def test_an_empty_fleet_is_no_error() -> None:
    assert _samples(FixedFleet(), "daalu_agents") == []


def test_every_reading_that_is_shown_is_one_of_the_wire() -> None:
    fields: Any = agent_pb2.CardSample.DESCRIPTOR.fields_by_name
    assert all(fields[gauge.reading].message_type.name == "Reading" for gauge in CARD_GAUGES)
