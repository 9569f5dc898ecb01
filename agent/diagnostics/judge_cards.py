"""Verdicts on the driver and the cards. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from daalu_wire.v1 import agent_pb2

from agent.diagnostics.finding import Evidence, Finding, Verdict, together

WARM_CELSIUS, HOT_CELSIUS = 85.0, 90.0
_Judge = Callable[[agent_pb2.CardSample], Finding]
_READINGS = (
    "temperature_celsius",
    "utilisation_percent",
    "memory_used_bytes",
    "memory_total_bytes",
    "power_watts",
    "clock_graphics_mhz",
    "clock_memory_mhz",
    "ecc_corrected_count",
    "ecc_uncorrected_count",
    "throttle",
    "fan_percent",
    "pcie_generation",
    "pcie_width_lanes",
    "retired_pages_count",
    "remapped_rows_count",
)
_ECC = {
    "ecc_corrected_count": "errors corrected",
    "ecc_uncorrected_count": "not corrected",
    "retired_pages_count": "pages retired",
    "remapped_rows_count": "rows remapped",
}
_HOLDS_BACK = {
    agent_pb2.THROTTLE_REASON_HARDWARE_SLOWDOWN: "hardware slowdown",
    agent_pb2.THROTTLE_REASON_SOFTWARE_THERMAL: "heat",
    agent_pb2.THROTTLE_REASON_HARDWARE_THERMAL: "heat, by the hardware itself",
    agent_pb2.THROTTLE_REASON_HARDWARE_POWER_BRAKE: "the power brake",
}
_COOL = "look at the fans, the dust and the air around the card"
SIMULATED = "a simulated card: there is nothing real to look at"


@dataclass(frozen=True, slots=True)
class PciLink:
    """A card's link as the kernel has it; None: it does not say. Speeds as it writes them: 16.0 GT/s PCIe."""

    directory: str
    speed: str | None
    max_speed: str | None
    width_lanes: int | None
    max_width_lanes: int | None


def driver(system: agent_pb2.CardSystem, cards_count: int) -> Finding:
    said = Evidence("nvmlInit, nvmlSystemGetDriverVersion, nvmlDeviceGetCount", _said(system, cards_count))
    match system.state:
        case agent_pb2.CARD_SYSTEM_STATE_SIMULATED:
            return Finding(Verdict.NOT_AVAILABLE, "a simulated card stands in for a driver", "", (said,))
        case agent_pb2.CARD_SYSTEM_STATE_OK if cards_count:
            version, nvml = _text(system.driver_version), _text(system.nvml_version)
            cards = f"{cards_count} card{'s' if cards_count > 1 else ''}"
            return Finding(Verdict.PASS, f"driver {version}, NVML {nvml}, {cards}", "", (said,))
        case agent_pb2.CARD_SYSTEM_STATE_OK:
            advice = "see `lspci | grep -i nvidia` and `dmesg | grep -i nvrm`"
            return Finding(Verdict.FAIL, system.detail or "the driver finds no card", advice, (said,))
        case _:
            # Its words say what to do, after a colon.
            saw, _, advice = system.detail.partition(": ")
            return Finding(Verdict.FAIL, saw or "the driver does not answer", advice, (said,))


def nvml_calls(samples: Sequence[agent_pb2.CardSample]) -> Finding:
    return _each(samples, _nvml_calls)


def ecc(samples: Sequence[agent_pb2.CardSample]) -> Finding:
    return _each(samples, _ecc)


def clocks(samples: Sequence[agent_pb2.CardSample]) -> Finding:
    return _each(samples, _clocks)


def pcie(samples: Sequence[agent_pb2.CardSample], links: dict[str, PciLink]) -> Finding:
    """`links` by the card's UUID."""
    return _each(samples, lambda sample: _pcie(sample, links.get(sample.uuid)))


def _each(samples: Sequence[agent_pb2.CardSample], judge: _Judge) -> Finding:
    if not samples:
        return Finding(Verdict.NOT_AVAILABLE, "no card to look at")
    if all(sample.simulated for sample in samples):
        return Finding(Verdict.NOT_AVAILABLE, SIMULATED)
    found = []
    for sample in samples:
        one = _lost(sample) if sample.lost else judge(sample)
        found.append(Finding(one.verdict, f"card {sample.index}: {one.saw}", one.advice, one.evidence))
    return together(found)


def _lost(sample: agent_pb2.CardSample) -> Finding:
    return Finding(
        Verdict.FAIL,
        f"the driver has lost it ({sample.lost})",
        "restart the host; if it comes back, look at power cables and slot, then replace the card",
    )


def _nvml_calls(sample: agent_pb2.CardSample) -> Finding:
    kinds = {name: getattr(sample, name).WhichOneof("reading") for name in _READINGS}
    evidence = Evidence(
        f"every reading of card {sample.index}",
        "\n".join(f"{name}: {_reading(getattr(sample, name))}" for name in _READINGS),
    )
    failed = [name for name, kind in kinds.items() if kind == "error"]
    unsupported = sum(kind == "unsupported" for kind in kinds.values())
    read = sum(kind == "value" for kind in kinds.values())
    saw = f"{read} of {len(_READINGS)} readings came, {unsupported} are not supported by this card"
    if not failed:
        return Finding(Verdict.PASS, saw, "", (evidence,))
    words = getattr(sample, failed[0]).error
    saw += f", {len(failed)} failed (the first: {failed[0]}, {words!r})"
    verdict = Verdict.WARN if read else Verdict.FAIL
    return Finding(verdict, saw, "see `nvidia-smi -q` and `dmesg | grep -i nvrm`", (evidence,))


def _ecc(sample: agent_pb2.CardSample) -> Finding:
    values = {name: _value(getattr(sample, name)) for name in _ECC}
    if all(value is None for value in values.values()):
        return Finding(Verdict.NOT_AVAILABLE, "no ECC memory, or it is switched off")
    shown = [f"{value:.0f} {_ECC[name]}" for name, value in values.items() if value is not None]
    saw = ", ".join(shown)
    evidence = (Evidence(f"ECC counters of card {sample.index} since the driver was loaded", saw),)
    if values["ecc_uncorrected_count"]:
        advice = "reset the card (nvidia-smi --gpu-reset, or restart the host); if they come back, replace it"
        return Finding(Verdict.FAIL, saw, advice, evidence)
    if values["retired_pages_count"] or values["remapped_rows_count"]:
        return Finding(Verdict.WARN, saw, "watch whether they grow: its memory wears out", evidence)
    return Finding(Verdict.PASS, saw, "", evidence)


def _clocks(sample: agent_pb2.CardSample) -> Finding:
    celsius = _value(sample.temperature_celsius)
    graphics, memory = _value(sample.clock_graphics_mhz), _value(sample.clock_memory_mhz)
    if graphics is None and celsius is None:
        return Finding(Verdict.NOT_AVAILABLE, "neither clocks nor temperature can be read")
    parts = [f"{graphics:.0f} MHz graphics" if graphics is not None else "graphics clock not known"]
    parts += [f"{memory:.0f} MHz memory"] if memory is not None else []
    parts += [f"{celsius:.0f} °C"] if celsius is not None else []
    reasons = list(sample.throttle.value.reasons) if _is_value(sample.throttle) else []
    held = [words for reason, words in _HOLDS_BACK.items() if reason in reasons]
    saw = ", ".join(parts) + (f", held back by {' and '.join(held)}" if held else "")
    evidence = (Evidence(f"clocks, temperature and throttle reasons of card {sample.index}", saw),)
    if celsius is not None and celsius >= HOT_CELSIUS:
        return Finding(Verdict.FAIL, saw, f"it is in danger: {_COOL}", evidence)
    if held or (celsius is not None and celsius >= WARM_CELSIUS):
        power = agent_pb2.THROTTLE_REASON_HARDWARE_POWER_BRAKE in reasons
        advice = "look at the power supply and its cables" if power else _COOL
        return Finding(Verdict.WARN, saw, advice, evidence)
    return Finding(Verdict.PASS, saw, "", evidence)


def _pcie(sample: agent_pb2.CardSample, link: PciLink | None) -> Finding:
    generation, width = _value(sample.pcie_generation), _value(sample.pcie_width_lanes)
    by_driver = f"generation {generation:g}, x{width:g}" if generation and width else "not told by the driver"
    evidence = [Evidence("nvmlDeviceGetCurrPcieLinkGeneration, …Width", by_driver)]
    if link is not None:
        lines = (
            f"current_link_speed {link.speed}, current_link_width {link.width_lanes}",
            f"max_link_speed {link.max_speed}, max_link_width {link.max_width_lanes}",
        )
        evidence.append(Evidence(link.directory, "\n".join(lines)))
    if link is None or link.width_lanes is None or link.max_width_lanes is None:
        if width is None:
            return Finding(Verdict.NOT_AVAILABLE, "its link is told by nobody", "", tuple(evidence))
        return Finding(Verdict.PASS, f"{by_driver}; what it can do is not known here", "", tuple(evidence))
    saw = f"x{link.width_lanes} of x{link.max_width_lanes}, {link.speed} of {link.max_speed}"
    if link.width_lanes < link.max_width_lanes:
        advice = "seat the card again; look at riser, slot and the BIOS's setting of the link"
        return Finding(Verdict.WARN, saw, advice, tuple(evidence))
    # A link that nothing uses saves power at a lower speed.
    idle = " (a link at rest is slower)" if link.speed != link.max_speed else ""
    return Finding(Verdict.PASS, saw + idle, "", tuple(evidence))


def _said(system: agent_pb2.CardSystem, cards_count: int) -> str:
    state = agent_pb2.CardSystemState.Name(system.state).removeprefix("CARD_SYSTEM_STATE_").lower()
    return (
        f"state {state}, driver {_text(system.driver_version)}, {cards_count} cards. {system.detail}".strip()
    )


def _text(reading: agent_pb2.TextReading) -> str:
    return reading.value if reading.WhichOneof("reading") == "value" else "unknown"


def _is_value(reading: agent_pb2.Reading | agent_pb2.ThrottleReading) -> bool:
    return reading.WhichOneof("reading") == "value"


def _value(reading: agent_pb2.Reading) -> float | None:
    return reading.value if _is_value(reading) else None


def _reading(reading: agent_pb2.Reading | agent_pb2.ThrottleReading) -> str:
    match reading.WhichOneof("reading"):
        case "value":
            if isinstance(reading, agent_pb2.ThrottleReading):
                names = [agent_pb2.ThrottleReason.Name(each) for each in reading.value.reasons]
                return ", ".join(name.removeprefix("THROTTLE_REASON_").lower() for name in names) or "none"
            return f"{reading.value:g}"
        case "unsupported":
            return "not supported"
        case "error":
            return f"error: {reading.error}"
        case _:
            return "not read"
