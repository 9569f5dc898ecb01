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

XID_RECENT_MS = 24 * 3_600_000
# NVIDIA's list of Xid errors. An application's own faults (13, 31, 43, 45 and the like) are not the card's.
FATAL_XIDS: Mapping[int, str] = {
    48: "a memory error that cannot be corrected",
    62: "its micro-controller has halted",
    64: "a bad row of its memory could not be remapped",
    79: "it has fallen off the bus",
    95: "a memory error that could not be contained",
    119: "its system processor does not answer",
    120: "its system processor failed",
    140: "memory errors that were not recovered from",
}
WORRYING_XIDS: Mapping[int, str] = {
    63: "a row of its memory was remapped",
    74: "an NVLink error",
    92: "many corrected memory errors",
    94: "a contained memory error",
}

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


def measures(
    sample: agent_pb2.CardSample, card_class: CardClass | None, sampled_unix_ms: int = 0
) -> dict[Measure, Measured]:
    """Of one card at one moment, by its host's clock; slowdowns apart: those need a past."""
    lost = Measured(1.0, sample.lost) if sample.lost else Measured(0.0)
    if sample.lost:
        # What else it says means nothing.
        return {Measure.LOST: lost, Measure.XID_FATAL: _xids(sample, FATAL_XIDS, sampled_unix_ms)}
    return {
        Measure.LOST: lost,
        Measure.TEMPERATURE: Measured(value_of(sample.temperature_celsius)),
        Measure.MEMORY: Measured(_memory_percent(sample)),
        Measure.ECC: Measured(value_of(sample.ecc_uncorrected_count)),
        Measure.RETIRED_PAGES: Measured(value_of(sample.retired_pages_count)),
        Measure.REMAPPED_ROWS: Measured(value_of(sample.remapped_rows_count)),
        Measure.XID_FATAL: _xids(sample, FATAL_XIDS, sampled_unix_ms),
        Measure.XID: _xids(sample, WORRYING_XIDS, sampled_unix_ms),
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


def _xids(sample: agent_pb2.CardSample, codes: Mapping[int, str], sampled_unix_ms: int) -> Measured:
    """How many of these codes were logged of late, and the newest in words."""
    if sample.xids.WhichOneof("reading") != "value":
        return Measured(None)
    recent = [
        event
        for event in sample.xids.value.events
        if event.code in codes and sampled_unix_ms - event.logged_unix_ms < XID_RECENT_MS
    ]
    if not recent:
        return Measured(0.0)
    newest = recent[-1]
    said = f"Xid {newest.code}, {codes[newest.code]}"
    return Measured(float(len(recent)), f"{said} ({newest.words})" if newest.words else said)


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
