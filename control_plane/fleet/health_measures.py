"""From what an agent reports to the measures that rules look at. Pure.

A measure is None where there is no evidence: not supported, not read, or not meaningful now.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from daalu_wire.v1 import agent_pb2

from control_plane.catalogue import CardClass
from control_plane.fleet.health_rules import Measure

Recognise = Callable[[agent_pb2.Card], CardClass | None]

# Over how long a slowdown's share of the time is taken.
SHARE_WINDOW_S = 30.0
# A link that nothing uses saves power at a lower generation.
WORKING_PERCENT = 10.0

_THERMAL = frozenset({agent_pb2.THROTTLE_REASON_SOFTWARE_THERMAL, agent_pb2.THROTTLE_REASON_HARDWARE_THERMAL})
_BRAKE = frozenset({agent_pb2.THROTTLE_REASON_HARDWARE_POWER_BRAKE})


@dataclass(frozen=True, slots=True)
class Measured:
    """`said` is for people, where the value alone says too little."""

    value: float | None
    said: str = ""


@dataclass(frozen=True, slots=True)
class Share:
    """How much of the time of late something held, 0 to 100, and when that was last looked at."""

    percent: float = 0.0
    looked_s: float | None = None


def grown(share: Share, held: bool, now_s: float) -> Share:
    """An exponential mean over SHARE_WINDOW_S. The first look only begins it."""
    if share.looked_s is None:
        return Share(0.0, now_s)
    weight = 1 - math.exp(-max(0.0, now_s - share.looked_s) / SHARE_WINDOW_S)
    return Share(share.percent + (100.0 * held - share.percent) * weight, now_s)


def slowdowns(sample: agent_pb2.CardSample) -> Mapping[Measure, bool] | None:
    """What slows the card down at this moment; None: it does not say."""
    if sample.throttle.WhichOneof("reading") != "value":
        return None
    reasons = set(sample.throttle.value.reasons)
    return {Measure.THERMAL_SLOWDOWN: bool(reasons & _THERMAL), Measure.POWER_BRAKE: bool(reasons & _BRAKE)}


def measures(sample: agent_pb2.CardSample, card_class: CardClass | None) -> dict[Measure, Measured]:
    """Of one card at one moment, slowdowns apart: those need a past."""
    lost = Measured(1.0, sample.lost) if sample.lost else Measured(0.0)
    if sample.lost:
        # What else it says means nothing.
        return {Measure.LOST: lost}
    return {
        Measure.LOST: lost,
        Measure.TEMPERATURE: Measured(value_of(sample.temperature_celsius)),
        Measure.MEMORY: Measured(_memory_percent(sample)),
        Measure.ECC: Measured(value_of(sample.ecc_uncorrected_count)),
        Measure.RETIRED_PAGES: Measured(value_of(sample.retired_pages_count)),
        Measure.REMAPPED_ROWS: Measured(value_of(sample.remapped_rows_count)),
        Measure.PCIE_WIDTH: _missing(
            value_of(sample.pcie_width_lanes), card_class.pcie_lanes if card_class else None, "PCIe x"
        ),
        Measure.PCIE_GENERATION: _generation(sample, card_class),
    }


def driver(system: agent_pb2.CardSystem) -> Measured:
    """1 where library and kernel module disagree; None where the system's state says nothing of it."""
    match system.state:
        case agent_pb2.CARD_SYSTEM_STATE_DRIVER_MISMATCH:
            return Measured(1.0, system.detail)
        case agent_pb2.CARD_SYSTEM_STATE_OK | agent_pb2.CARD_SYSTEM_STATE_SIMULATED:
            return Measured(0.0)
        case _:
            return Measured(None)


def value_of(reading: agent_pb2.Reading) -> float | None:
    """None for everything but a value: an unsupported reading is not 0."""
    return reading.value if reading.WhichOneof("reading") == "value" else None


def _memory_percent(sample: agent_pb2.CardSample) -> float | None:
    used, total = value_of(sample.memory_used_bytes), value_of(sample.memory_total_bytes)
    return 100 * used / total if used is not None and total else None


def _generation(sample: agent_pb2.CardSample, card_class: CardClass | None) -> Measured:
    working = value_of(sample.utilisation_percent)
    if working is None or working < WORKING_PERCENT:
        return Measured(None)
    able = card_class.pcie_generation if card_class else None
    return _missing(value_of(sample.pcie_generation), able, "PCIe generation ")


def _missing(now: float | None, able: int | None, unit: str) -> Measured:
    if now is None or able is None:
        return Measured(None)
    return Measured(max(0.0, able - now), f"{unit}{now:.0f}, the card can {unit}{able}")
