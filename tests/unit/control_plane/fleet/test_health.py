"""Each rule goes in and out of its state by evidence alone, with debounce and hysteresis."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from daalu_wire.v1 import agent_pb2

from control_plane.catalogue import CardClass, CardClasses
from control_plane.fleet.health import AgentHealth, Finding, observe
from control_plane.fleet.health_rules import CALM_S, RULES, SHORT_S, Health, Measure
from control_plane.fleet.offers import identity_of

Reading = agent_pb2.Reading
INTERVAL_S = 2.0
GPU = "GPU-1"
CLASSES = CardClasses.load()
# How long a raised rule may take, and one that is taken back.
PROMISED_S = 10.0
SAMPLED_UNIX_MS = 1_790_000_000_000


def _card() -> agent_pb2.Card:
    return agent_pb2.Card(
        uuid=GPU,
        name=agent_pb2.TextReading(value="NVIDIA RTX 2000 Ada Generation"),
        memory_total_bytes=Reading(value=16_380 * 1024**2),
        compute_capability=agent_pb2.TextReading(value="8.9"),
    )


def _recognise(card: agent_pb2.Card) -> CardClass | None:
    return CLASSES.recognise(*identity_of(card))


GOOD: dict[str, float] = {
    "temperature_celsius": 60,
    "utilisation_percent": 50,
    "memory_used_bytes": 8e9,
    "memory_total_bytes": 16e9,
    "ecc_uncorrected_count": 0,
    "retired_pages_count": 0,
    "remapped_rows_count": 0,
    "pcie_generation": 4,
    "pcie_width_lanes": 8,
}


@dataclass
class Bench:
    """An agent with one card, seen every two seconds."""

    state: AgentHealth = field(default_factory=AgentHealth)
    now_s: float = 1_000.0

    def see(self, changes: dict[str, Any] | None = None, *, for_s: float = INTERVAL_S) -> Health:
        for _ in range(round(for_s / INTERVAL_S)):
            self.now_s += INTERVAL_S
            sample = _sample(changes or {})
            inventory = agent_pb2.GetInventoryResponse(cards=[_card()])
            now = self.now_s, int(self.now_s * 1000)
            self.state = observe(self.state, sample, inventory, _recognise, now)
        return self.state.health

    def finding(self, code: str) -> Finding | None:
        return next((found for found in self.state.findings() if found.code == code), None)


def _sample(changes: dict[str, Any]) -> agent_pb2.TelemetrySample:
    system = agent_pb2.CardSystem(
        state=changes.get("state", agent_pb2.CARD_SYSTEM_STATE_OK), detail=changes.get("detail", "")
    )
    card = agent_pb2.CardSample(uuid=GPU, lost=changes.get("lost", ""))
    for name, value in (GOOD | changes).items():
        if name in GOOD and isinstance(value, Reading):
            getattr(card, name).CopyFrom(value)
        elif name in GOOD and value is not None:
            getattr(card, name).value = value
    reasons = changes.get("reasons", [])
    card.throttle.CopyFrom(
        agent_pb2.ThrottleReading(value=agent_pb2.ThrottleReasons(reasons=reasons))
        if reasons is not None
        else agent_pb2.ThrottleReading(unsupported=True)
    )
    for code, ago_ms in changes.get("xids") or []:
        card.xids.value.events.add(code=code, logged_unix_ms=SAMPLED_UNIX_MS - ago_ms, words="pid=7")
    if changes.get("xids", []) is None:
        card.xids.unsupported = True
    else:
        card.xids.value.SetInParent()
    return agent_pb2.TelemetrySample(card_system=system, cards=[card], sampled_unix_ms=SAMPLED_UNIX_MS)


BAD: dict[str, dict[str, Any]] = {
    "temperature_high": {"temperature_celsius": 86},
    "temperature_critical": {"temperature_celsius": 91},
    "memory_full": {"memory_used_bytes": 15.6e9},
    "ecc_uncorrected": {"ecc_uncorrected_count": 1},
    "pages_retired": {"retired_pages_count": 2},
    "pages_retired_many": {"retired_pages_count": 60},
    "rows_remapped": {"remapped_rows_count": 1},
    "pcie_narrow": {"pcie_width_lanes": 4},
    "pcie_slow": {"pcie_generation": 1},
    "xid_fatal": {"xids": [(79, 1_000)]},
    "xid_error": {"xids": [(63, 1_000)]},
    "card_lost": {"lost": "GPU is lost"},
    "driver_mismatch": {"state": agent_pb2.CARD_SYSTEM_STATE_DRIVER_MISMATCH, "detail": "restart"},
    "thermal_slowdown": {"reasons": [agent_pb2.THROTTLE_REASON_HARDWARE_THERMAL]},
    "power_brake": {"reasons": [agent_pb2.THROTTLE_REASON_HARDWARE_POWER_BRAKE]},
}
RATES = {"thermal_slowdown", "power_brake"}
HEALTH = {rule.code: rule.health for rule in RULES}


def test_every_rule_is_tried_here() -> None:
    assert set(BAD) == {rule.code for rule in RULES}


@pytest.mark.parametrize("code", [code for code in BAD if code not in RATES])
def test_a_rule_is_raised_within_10_s_and_taken_back_within_10_s(code: str) -> None:
    bench = Bench()
    assert bench.see() is Health.GOOD
    assert bench.see(BAD[code], for_s=PROMISED_S) is HEALTH[code]
    finding = bench.finding(code)
    assert finding is not None
    assert finding.evidence
    assert finding.advice
    assert bench.now_s - PROMISED_S <= finding.since_unix_ms / 1000 <= bench.now_s
    assert bench.see(for_s=PROMISED_S) is Health.GOOD


@pytest.mark.parametrize("code", sorted(RATES))
def test_a_slowdown_counts_by_its_share_of_the_time(code: str) -> None:
    bench = Bench()
    bench.see()
    # One slow sample in ten of the thermal kind is no fault.
    if code == "thermal_slowdown":
        for _ in range(30):
            bench.see(BAD[code])
            assert bench.see(for_s=18) is Health.GOOD
    assert bench.see(BAD[code], for_s=60) is Health.WARNING
    assert bench.finding(code) is not None
    assert bench.see(for_s=180) is Health.GOOD


def test_a_moment_of_heat_raises_nothing() -> None:
    bench = Bench()
    bench.see()
    for _ in range(20):
        assert bench.see(BAD["temperature_critical"]) is Health.GOOD
        assert bench.see() is Health.GOOD


def test_what_hovers_between_the_limits_stays_as_it_is() -> None:
    bench = Bench()
    assert bench.see({"temperature_celsius": 84}, for_s=60) is Health.GOOD
    assert bench.see({"temperature_celsius": 86}, for_s=20) is Health.WARNING
    assert bench.see({"temperature_celsius": 83}, for_s=60) is Health.WARNING
    assert bench.see({"temperature_celsius": 81}, for_s=20) is Health.GOOD


def test_a_relapse_while_it_clears_starts_the_wait_anew_and_keeps_the_first_time() -> None:
    bench = Bench()
    bench.see(BAD["temperature_critical"], for_s=20)
    first = bench.finding("temperature_critical")
    assert first is not None
    for _ in range(10):
        bench.see({"temperature_celsius": 70}, for_s=4)
        bench.see(BAD["temperature_critical"])
    again = bench.finding("temperature_critical")
    assert again is not None
    assert again.since_unix_ms == first.since_unix_ms


@pytest.mark.parametrize("absent", [Reading(unsupported=True), Reading(error="Unknown Error"), None])
def test_a_reading_that_is_not_there_neither_raises_nor_takes_back(absent: Reading | None) -> None:
    for code, name in [
        ("temperature_critical", "temperature_celsius"),
        ("ecc_uncorrected", "ecc_uncorrected_count"),
        ("pcie_narrow", "pcie_width_lanes"),
        ("memory_full", "memory_used_bytes"),
    ]:
        bench = Bench()
        assert bench.see({name: absent}, for_s=60) is Health.GOOD
        bench.see(BAD[code], for_s=20)
        assert bench.see({name: absent}, for_s=600) is HEALTH[code]


def test_evidence_must_be_unbroken_to_raise() -> None:
    bench = Bench()
    bench.see()
    for _ in range(20):
        bench.see(BAD["temperature_critical"])
        assert bench.see({"temperature_celsius": Reading(error="x")}) is Health.GOOD


def test_a_driver_that_does_not_say_what_slows_it_down_is_not_slow() -> None:
    assert Bench().see({"reasons": None}, for_s=120) is Health.GOOD


def test_only_the_worst_of_one_subject_is_told() -> None:
    bench = Bench()
    bench.see(BAD["temperature_critical"], for_s=20)
    assert [finding.code for finding in bench.state.findings()] == ["temperature_critical"]
    assert bench.state.findings()[0].evidence == "91 °C, from 90 °C it is in danger"
    bench.see({"temperature_celsius": 84}, for_s=20)
    assert [finding.code for finding in bench.state.findings()] == ["temperature_high"]


def test_a_link_at_rest_may_be_slow() -> None:
    bench = Bench()
    assert bench.see(BAD["pcie_slow"] | {"utilisation_percent": 0}, for_s=60) is Health.GOOD
    bench.see(BAD["pcie_slow"], for_s=20)
    finding = bench.finding("pcie_slow")
    assert finding is not None
    assert finding.evidence == "PCIe generation 1, the card can PCIe generation 4"


def test_a_lost_card_keeps_what_was_known_of_it_and_is_good_again_when_it_is_back() -> None:
    bench = Bench()
    bench.see(BAD["rows_remapped"], for_s=20)
    bench.see({"lost": "GPU is lost"}, for_s=20)
    assert {finding.code for finding in bench.state.findings()} == {"card_lost", "rows_remapped"}
    assert bench.state.findings()[0].evidence == "the driver has lost the card: GPU is lost"
    assert bench.see(for_s=20) is Health.GOOD


def test_a_card_of_which_nothing_was_read_is_unknown_and_not_good() -> None:
    unread = {name: Reading(unsupported=True) for name in GOOD}
    assert Bench().see(unread | {"reasons": None}, for_s=60) is Health.UNKNOWN
    assert AgentHealth().health is Health.UNKNOWN


def test_a_card_that_leaves_the_sample_is_not_well_for_that() -> None:
    bench = Bench()
    bench.see(BAD["ecc_uncorrected"], for_s=20)
    empty = agent_pb2.TelemetrySample(card_system=agent_pb2.CardSystem(state=agent_pb2.CARD_SYSTEM_STATE_OK))
    inventory = agent_pb2.GetInventoryResponse(cards=[_card()])
    later = observe(bench.state, empty, inventory, _recognise, (bench.now_s + 600, 0))
    assert later.of_card(GPU) is Health.CRITICAL


def test_the_worst_card_decides_for_its_agent() -> None:
    state = AgentHealth()
    for second in range(0, 20, 2):
        cold, hot = _sample({}).cards[0], _sample(BAD["temperature_critical"]).cards[0]
        hot.uuid = "GPU-2"
        sample = agent_pb2.TelemetrySample(
            card_system=agent_pb2.CardSystem(state=agent_pb2.CARD_SYSTEM_STATE_OK), cards=[cold, hot]
        )
        state = observe(state, sample, None, _recognise, (float(second), second))
    assert state.of_card(GPU) is Health.GOOD
    assert state.of_card("GPU-2") is Health.CRITICAL
    assert state.health is Health.CRITICAL
    assert [finding.card_uuid for finding in state.findings()] == ["GPU-2"]


def test_the_table_is_sound() -> None:
    for rule in RULES:
        assert rule.clear_below <= rule.raise_at, rule.code
        assert rule.raise_after_s + INTERVAL_S <= PROMISED_S, rule.code
        assert rule.clear_after_s + INTERVAL_S <= PROMISED_S, rule.code
        rule.evidence.format(value=1.0, limit=1.0, said="x")
    # A worse rule of the same measure stands after the milder one: the last one raised is shown.
    for measure in Measure:
        order = [rule.health is Health.CRITICAL for rule in RULES if rule.measure is measure]
        assert order == sorted(order), measure
    assert (SHORT_S, CALM_S) == (4.0, 6.0)


def test_a_lost_card_says_by_what_the_driver_lost_it() -> None:
    bench = Bench()
    bench.see()
    bench.see(BAD["card_lost"] | BAD["xid_fatal"], for_s=PROMISED_S)
    finding = bench.finding("xid_fatal")
    assert finding is not None
    assert "Xid 79, it has fallen off the bus (pid=7)" in finding.evidence
    assert bench.finding("card_lost") is not None


@pytest.mark.parametrize("code", [13, 31, 43, 45, 9_999])
def test_an_applications_own_faults_are_not_the_cards(code: int) -> None:
    assert Bench().see({"xids": [(code, 1_000)]}, for_s=60) is Health.GOOD


def test_a_complaint_of_yesterday_is_forgotten() -> None:
    bench = Bench()
    assert bench.see({"xids": [(79, 23 * 3_600_000)]}) is Health.CRITICAL
    assert bench.see({"xids": [(79, 25 * 3_600_000)]}, for_s=PROMISED_S) is Health.GOOD


def test_a_kernel_log_that_cannot_be_read_takes_no_complaint_back() -> None:
    bench = Bench()
    bench.see(BAD["xid_fatal"])
    assert bench.see({"xids": None}, for_s=60) is Health.CRITICAL


def test_a_card_of_which_only_the_kernel_log_is_known_is_not_called_good() -> None:
    nothing = {name: Reading(unsupported=True) for name in GOOD}
    assert Bench().see(nothing | {"reasons": None}, for_s=60) is Health.UNKNOWN
