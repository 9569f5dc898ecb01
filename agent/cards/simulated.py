"""A made-up card, for hosts that have none. It says so in its name, its UUID and every message."""

import math
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from daalu_wire.v1 import agent_pb2

from agent.cards.reader import Inventory, Sample
from agent.cards.readings import throttle_reasons

DEFAULT_SIMULATED_CARD: Final = "RTX 2000 Ada 16 GB"
DETAIL: Final = "a simulated card: this host reports no real one"
_PREFIX: Final = "Simulated "
_GIB = 1024**3
_IDLE_BIT = 0x1
_NAMESPACE = uuid.UUID("5d1b8a52-2f0a-4b6e-9d43-8c8c7d0a5e11")
_MEMORY = re.compile(r"(\d{1,4}) ?G(?:i)?B", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Figures:
    """What a card of one kind can do."""

    memory_bytes: int
    power_limit_watts: float
    idle_watts: float
    clock_graphics_mhz: float
    clock_memory_mhz: float
    pcie_width_lanes: int


# From the makers' data sheets; the first name that occurs in the card's own is used, the last is for others.
_KINDS: Final = {
    "RTX 6000 Ada": Figures(48 * _GIB, 300, 22, 2505, 10_001, 16),
    "RTX 2000 Ada": Figures(16 * _GIB, 70, 9, 2130, 8_001, 8),
}


def slow_wave(unix_s: float) -> float:
    """A believable load, 0 to 1, with no memory: two waves of ten minutes and of a minute and a half."""
    return 0.4 + 0.3 * math.sin(unix_s * math.tau / 600) + 0.1 * math.sin(unix_s * math.tau / 97)


class SimulatedReader:
    """`load` gives the card's load, 0 to 1, at a Unix time; the same time and load give the same sample."""

    def __init__(
        self,
        name: str = DEFAULT_SIMULATED_CARD,
        *,
        seed: str = "",
        load: Callable[[float], float] = slow_wave,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`seed`: the card's UUID follows from it and the name; hosts should differ in it."""
        self._name = name if name.startswith(_PREFIX) else _PREFIX + name
        self._uuid = f"GPU-simulated-{uuid.uuid5(_NAMESPACE, f'{seed}/{self._name}')}"
        self._figures = figures_of(name)
        self._load = load
        self._clock = clock

    async def inventory(self) -> Inventory:
        card = agent_pb2.Card(index=0, uuid=self._uuid, simulated=True)
        card.name.value = self._name
        card.memory_total_bytes.value = self._figures.memory_bytes
        card.pci_bus_id.unsupported = True
        card.compute_capability.value = "8.9"
        card.power_limit_watts.value = self._figures.power_limit_watts
        card.ecc_mode.value = "enabled"
        return _system(), [card]

    async def sample(self) -> Sample:
        load = min(1.0, max(0.0, self._load(self._clock())))
        sample = sample_at(load, self._figures)
        sample.uuid = self._uuid
        return _system(), [sample]

    def close(self) -> None:
        """Nothing is held."""


def figures_of(name: str) -> Figures:
    """Of the kind that the name says, with the memory that it says."""
    kind = next((figures for part, figures in _KINDS.items() if part in name), _KINDS["RTX 2000 Ada"])
    stated = _MEMORY.search(name)
    return replace(kind, memory_bytes=int(stated[1]) * _GIB) if stated else kind


def sample_at(load: float, figures: Figures) -> agent_pb2.CardSample:
    """What such a card would report at a load of 0 to 1."""
    busy = load > 0.02
    sample = agent_pb2.CardSample(index=0, simulated=True)
    sample.temperature_celsius.value = round(36 + 38 * load)
    sample.utilisation_percent.value = round(100 * load)
    # An engine takes its memory when it starts, whatever its load.
    sample.memory_used_bytes.value = int(figures.memory_bytes * (0.9 if busy else 0.02))
    sample.memory_total_bytes.value = figures.memory_bytes
    power_watts = figures.idle_watts + (figures.power_limit_watts - figures.idle_watts) * load
    sample.power_watts.value = round(power_watts, 1)
    sample.clock_graphics_mhz.value = (
        round(figures.clock_graphics_mhz * (0.55 + 0.45 * load)) if busy else 210
    )
    sample.clock_memory_mhz.value = figures.clock_memory_mhz if busy else 405
    sample.ecc_corrected_count.value = 0
    sample.ecc_uncorrected_count.value = 0
    sample.throttle.value.reasons.extend(throttle_reasons(0 if busy else _IDLE_BIT))
    sample.fan_percent.value = round(30 + 45 * load)
    sample.pcie_generation.value = 4 if busy else 1
    sample.pcie_width_lanes.value = figures.pcie_width_lanes
    sample.retired_pages_count.unsupported = True
    sample.remapped_rows_count.value = 0
    sample.xids.unsupported = True
    return sample


def _system() -> agent_pb2.CardSystem:
    unsupported = agent_pb2.TextReading(unsupported=True)
    return agent_pb2.CardSystem(
        state=agent_pb2.CARD_SYSTEM_STATE_SIMULATED,
        detail=DETAIL,
        driver_version=unsupported,
        nvml_version=unsupported,
    )
