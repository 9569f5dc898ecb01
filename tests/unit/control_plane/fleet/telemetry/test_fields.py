"""What is kept of a sample, and what is not."""

import math

import pytest
from daalu_wire.v1 import agent_pb2

from control_plane.fleet.telemetry.fields import (
    CARD_FIELDS,
    ENGINE,
    ENGINE_FIELDS,
    MAX_CARDS,
    SubjectSample,
    subjects,
    words,
)
from tests.support.telemetry import CARD, Reading, card_sample, sample


def _one(seen: agent_pb2.TelemetrySample) -> dict[str, float | None]:
    (subject,) = subjects(seen)
    fields = ENGINE_FIELDS if subject.subject == ENGINE else CARD_FIELDS
    return {field.name: value for field, value in zip(fields, subject.row, strict=True)}


def test_a_reading_that_is_not_a_value_is_absent_and_not_0() -> None:
    row = _one(
        sample(
            card_sample(
                temperature_celsius=0,
                power_watts=Reading(unsupported=True),
                clock_graphics_mhz=Reading(error="Unknown Error"),
            )
        )
    )
    assert row["temperature_celsius"] == 0
    assert {name for name, value in row.items() if value is not None} == {"temperature_celsius"}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300])
def test_a_number_that_no_card_has_is_absent(value: float) -> None:
    row = _one(sample(card_sample(temperature_celsius=50, power_watts=value)))
    assert row["power_watts"] is None


def test_a_card_that_says_nothing_is_not_recorded() -> None:
    lost = card_sample(temperature_celsius=Reading(error="GPU is lost"))
    lost.lost = "GPU is lost"
    assert list(subjects(sample(lost))) == []


def test_a_card_without_a_name_or_with_an_endless_one_is_not_recorded() -> None:
    cards = [card_sample("", temperature_celsius=50), card_sample("G" * 1_000, temperature_celsius=50)]
    assert list(subjects(sample(*cards))) == []


def test_no_more_cards_are_looked_at_than_a_host_can_have() -> None:
    cards = [card_sample(f"GPU-{number}", temperature_celsius=50) for number in range(MAX_CARDS + 10)]
    assert len(list(subjects(sample(*cards)))) == MAX_CARDS


def test_an_engine_that_does_not_answer_has_no_queue_rather_than_an_empty_one() -> None:
    loading = agent_pb2.EngineSample(phase=agent_pb2.ENGINE_PHASE_LOADING)
    assert list(subjects(sample(engine=loading))) == []
    ready = agent_pb2.EngineSample(phase=agent_pb2.ENGINE_PHASE_READY, waiting_calls=3)
    assert _one(sample(engine=ready)) == {"running_calls": 0, "waiting_calls": 3, "kv_cache_percent": None}


def test_throttle_reasons_are_kept_by_name_and_none_is_not_unknown() -> None:
    card = card_sample()
    card.throttle.value.reasons.extend(
        [agent_pb2.THROTTLE_REASON_SOFTWARE_POWER_CAP, agent_pb2.THROTTLE_REASON_HARDWARE_THERMAL]
    )
    bits = _one(sample(card))["throttle"]
    assert bits is not None
    assert words(bits) == ["software_power_cap", "hardware_thermal"]
    card.throttle.value.ClearField("reasons")
    assert _one(sample(card))["throttle"] == 0
    assert words(0) == []


def test_a_newer_agents_reason_is_kept_as_unspecified() -> None:
    wire = agent_pb2.CardSample(uuid=CARD)
    wire.throttle.value.reasons.append(77)  # type: ignore[arg-type]
    bits = _one(sample(wire))["throttle"]
    assert bits is not None
    assert words(bits) == ["unspecified"]


def test_a_simulated_card_stays_labelled() -> None:
    card = card_sample(temperature_celsius=50)
    card.simulated = True
    assert list(subjects(sample(card))) == [
        SubjectSample(CARD, 0, True, [50, None, None, None, None, None, None, None])
    ]
