"""What is said of the driver and the cards."""

from typing import Any

import pytest
from daalu_wire.v1 import agent_pb2

from agent.diagnostics import judge_cards
from agent.diagnostics.finding import Finding, Verdict
from agent.diagnostics.judge_cards import PciLink

Reading = agent_pb2.Reading
OK = agent_pb2.CARD_SYSTEM_STATE_OK


def _card(
    index: int = 0, *throttle: "agent_pb2.ThrottleReason.ValueType", **readings: Any
) -> agent_pb2.CardSample:
    card = agent_pb2.CardSample(index=index, uuid=f"GPU-{index}")
    card.throttle.value.reasons.extend(throttle)
    for name, reading in readings.items():
        getattr(card, name).CopyFrom(reading if isinstance(reading, Reading) else Reading(value=reading))
    return card


def _system(
    state: "agent_pb2.CardSystemState.ValueType" = OK, detail: str = "", driver: str = "575.51"
) -> agent_pb2.CardSystem:
    return agent_pb2.CardSystem(
        state=state, detail=detail, driver_version=agent_pb2.TextReading(value=driver)
    )


def test_a_driver_that_answers_passes_with_its_version() -> None:
    found = judge_cards.driver(_system(), 2)
    assert found.verdict is Verdict.PASS
    assert found.saw == "driver 575.51, NVML unknown, 2 cards"


@pytest.mark.parametrize(
    "state",
    [
        agent_pb2.CARD_SYSTEM_STATE_NO_DRIVER,
        agent_pb2.CARD_SYSTEM_STATE_DRIVER_MISMATCH,
        agent_pb2.CARD_SYSTEM_STATE_ERROR,
        agent_pb2.CARD_SYSTEM_STATE_UNSPECIFIED,
    ],
)
def test_a_driver_that_does_not_answer_fails_with_the_way_out(
    state: "agent_pb2.CardSystemState.ValueType",
) -> None:
    found = judge_cards.driver(_system(state, "the driver is not loaded: `modprobe nvidia`"), 0)
    assert (found.verdict, found.saw) == (Verdict.FAIL, "the driver is not loaded")
    assert found.advice == "`modprobe nvidia`"


def test_a_driver_without_a_card_fails() -> None:
    assert judge_cards.driver(_system(), 0).verdict is Verdict.FAIL


def test_a_simulated_card_is_nothing_to_judge() -> None:
    assert (
        judge_cards.driver(_system(agent_pb2.CARD_SYSTEM_STATE_SIMULATED), 1).verdict is Verdict.NOT_AVAILABLE
    )
    card = _card(temperature_celsius=99)
    card.simulated = True
    for judge in (judge_cards.nvml_calls, judge_cards.ecc, judge_cards.clocks):
        found = judge([card])
        assert (found.verdict, found.saw) == (Verdict.NOT_AVAILABLE, judge_cards.SIMULATED)


def test_without_a_card_nothing_passes() -> None:
    for judge in (judge_cards.nvml_calls, judge_cards.ecc, judge_cards.clocks):
        assert judge([]).verdict is Verdict.NOT_AVAILABLE
    assert judge_cards.pcie([], {}).verdict is Verdict.NOT_AVAILABLE


def test_a_lost_card_fails_whatever_else_is_asked() -> None:
    card = _card(temperature_celsius=Reading(error="GPU is lost"))
    card.lost = "GPU is lost"
    for judge in (judge_cards.nvml_calls, judge_cards.ecc, judge_cards.clocks):
        assert judge([card]).verdict is Verdict.FAIL


def test_unsupported_readings_pass_and_failed_ones_are_named() -> None:
    unsupported = _card(temperature_celsius=50, fan_percent=Reading(unsupported=True))
    assert judge_cards.nvml_calls([unsupported]).verdict is Verdict.PASS
    some = _card(temperature_celsius=50, power_watts=Reading(error="Unknown Error"))
    found = judge_cards.nvml_calls([some])
    assert found.verdict is Verdict.WARN
    assert "power_watts, 'Unknown Error'" in found.saw
    assert "power_watts: error: Unknown Error" in found.evidence[0].output


@pytest.mark.parametrize(
    ("readings", "verdict"),
    [
        ({"ecc_corrected_count": 7, "ecc_uncorrected_count": 0}, Verdict.PASS),
        ({"ecc_corrected_count": 0, "ecc_uncorrected_count": 1}, Verdict.FAIL),
        ({"ecc_uncorrected_count": 0, "remapped_rows_count": 1}, Verdict.WARN),
        ({"retired_pages_count": 2}, Verdict.WARN),
        ({"ecc_corrected_count": Reading(unsupported=True)}, Verdict.NOT_AVAILABLE),
    ],
)
def test_memory_errors(readings: dict[str, Any], verdict: Verdict) -> None:
    assert judge_cards.ecc([_card(**readings)]).verdict is verdict


@pytest.mark.parametrize(
    ("celsius", "reasons", "verdict"),
    [
        (60, [], Verdict.PASS),
        (60, [agent_pb2.THROTTLE_REASON_IDLE, agent_pb2.THROTTLE_REASON_SOFTWARE_POWER_CAP], Verdict.PASS),
        (85, [], Verdict.WARN),
        (60, [agent_pb2.THROTTLE_REASON_HARDWARE_POWER_BRAKE], Verdict.WARN),
        (90, [], Verdict.FAIL),
    ],
)
def test_clocks_and_heat(
    celsius: float, reasons: list["agent_pb2.ThrottleReason.ValueType"], verdict: Verdict
) -> None:
    found = judge_cards.clocks([_card(0, *reasons, temperature_celsius=celsius, clock_graphics_mhz=1_800)])
    assert found.verdict is verdict
    assert (found.advice == "") is (verdict is Verdict.PASS)


def test_the_power_brake_has_advice_of_its_own() -> None:
    card = _card(0, agent_pb2.THROTTLE_REASON_HARDWARE_POWER_BRAKE, temperature_celsius=60)
    assert "power supply" in judge_cards.clocks([card]).advice


def _link(speed: str, width: int | None, max_width: int | None = 16) -> PciLink:
    return PciLink("/sys/bus/pci/devices/0000:01:00.0", speed, "16.0 GT/s PCIe", width, max_width)


def _pcie(link: PciLink | None, **readings: Any) -> Finding:
    return judge_cards.pcie([_card(**readings)], {} if link is None else {"GPU-0": link})


def test_a_narrow_link_warns_and_a_slow_one_at_rest_does_not() -> None:
    narrow = _pcie(_link("16.0 GT/s PCIe", 8))
    assert (narrow.verdict, narrow.saw) == (
        Verdict.WARN,
        "card 0: x8 of x16, 16.0 GT/s PCIe of 16.0 GT/s PCIe",
    )
    at_rest = _pcie(_link("2.5 GT/s PCIe", 16))
    assert at_rest.verdict is Verdict.PASS
    assert "a link at rest is slower" in at_rest.saw


def test_a_link_of_which_little_is_known_says_so() -> None:
    assert _pcie(None).verdict is Verdict.NOT_AVAILABLE
    driver_only = _pcie(None, pcie_generation=4, pcie_width_lanes=8)
    assert driver_only.verdict is Verdict.PASS
    assert "what it can do is not known" in driver_only.saw
    assert _pcie(_link("x", None, None)).verdict is Verdict.NOT_AVAILABLE


def test_of_several_cards_the_worst_decides_and_each_is_named() -> None:
    found = judge_cards.clocks([_card(0, temperature_celsius=60), _card(1, temperature_celsius=91)])
    assert found.verdict is Verdict.FAIL
    assert "card 0: " in found.saw
    assert "card 1: " in found.saw
