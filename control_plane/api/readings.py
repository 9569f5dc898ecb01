"""What agents report, as JSON: a value, "not supported", or an error, and never a 0 for any of these."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Self

from daalu_wire.v1 import agent_pb2

from control_plane.api.schemas import Response
from control_plane.fleet import AgentHealth

# The year 9999.
MAX_UNIX_MS = 253_370_764_800_000
MAX_WORDS_CHARACTERS = 200


class State(StrEnum):
    OK = "ok"
    UNSUPPORTED = "unsupported"
    ERROR = "error"
    # Never read.
    ABSENT = "absent"


class ReadingResponse(Response):
    """`value` is set when `state` is ok, `error` when it is error. `unit` as in the wire's field names."""

    state: State
    unit: str = ""
    value: float | str | list[str] | None = None
    error: str | None = None

    @classmethod
    def of(
        cls,
        reading: agent_pb2.Reading | agent_pb2.TextReading | agent_pb2.ThrottleReading | agent_pb2.XidReading,
        unit: str = "",
    ) -> Self:
        match reading.WhichOneof("reading"):
            case "value":
                value = reading.value
                if isinstance(value, agent_pb2.ThrottleReasons):
                    return cls(state=State.OK, value=[_word(reason) for reason in value.reasons])
                if isinstance(value, agent_pb2.XidEvents):
                    return cls(state=State.OK, value=[_complaint(event) for event in value.events])
                return cls(state=State.OK, unit=unit, value=value)
            case "unsupported":
                return cls(state=State.UNSUPPORTED, unit=unit)
            case "error":
                return cls(state=State.ERROR, unit=unit, error=reading.error)
            case _:
                return cls(state=State.ABSENT, unit=unit)


class CardSystemResponse(Response):
    """Whether the host's cards can be read at all."""

    state: str
    detail: str
    driver_version: ReadingResponse
    nvml_version: ReadingResponse

    @classmethod
    def of(cls, system: agent_pb2.CardSystem) -> Self:
        name = agent_pb2.CardSystemState.Name(system.state)
        return cls(
            state=name.removeprefix("CARD_SYSTEM_STATE_").lower(),
            detail=system.detail,
            driver_version=ReadingResponse.of(system.driver_version),
            nvml_version=ReadingResponse.of(system.nvml_version),
        )


class CardResponse(Response):
    """One card: what it is and what it last reported."""

    index: int
    uuid: str
    simulated: bool
    # Why the card cannot be reached any more; None: it can.
    lost: str | None
    # unknown, good, warning or critical.
    health: str
    properties: dict[str, ReadingResponse]
    readings: dict[str, ReadingResponse]


_PROPERTIES = {
    "name": "",
    "memory_total_bytes": "bytes",
    "pci_bus_id": "",
    "compute_capability": "",
    "power_limit_watts": "watts",
    "ecc_mode": "",
}
_READINGS = {
    "temperature_celsius": "celsius",
    "utilisation_percent": "percent",
    "memory_used_bytes": "bytes",
    "memory_total_bytes": "bytes",
    "power_watts": "watts",
    "clock_graphics_mhz": "mhz",
    "clock_memory_mhz": "mhz",
    "fan_percent": "percent",
    "throttle": "",
    "ecc_corrected_count": "count",
    "ecc_uncorrected_count": "count",
    "pcie_generation": "",
    "pcie_width_lanes": "lanes",
    "retired_pages_count": "count",
    "remapped_rows_count": "count",
    "xids": "",
}


def cards(
    inventory: agent_pb2.GetInventoryResponse | None,
    sample: agent_pb2.TelemetrySample | None,
    health: AgentHealth | None = None,
) -> list[CardResponse]:
    """Every card that the inventory or the last sample names, by index."""
    known = {card.index: card for card in inventory.cards} if inventory else {}
    sampled = {card.index: card for card in sample.cards} if sample else {}
    health = health or AgentHealth()
    return [
        _card(index, known.get(index), sampled.get(index), health) for index in sorted({*known, *sampled})
    ]


def _card(
    index: int, card: agent_pb2.Card | None, sample: agent_pb2.CardSample | None, health: AgentHealth
) -> CardResponse:
    known, sampled = card or agent_pb2.Card(), sample or agent_pb2.CardSample()
    uuid = known.uuid or sampled.uuid
    return CardResponse(
        index=index,
        uuid=uuid,
        simulated=known.simulated or sampled.simulated,
        lost=sampled.lost or None,
        health=health.of_card(uuid),
        properties={
            name: ReadingResponse.of(getattr(known, name), unit) for name, unit in _PROPERTIES.items()
        },
        readings={name: ReadingResponse.of(getattr(sampled, name), unit) for name, unit in _READINGS.items()},
    )


def _complaint(event: agent_pb2.XidEvent) -> str:
    logged = datetime.fromtimestamp(min(max(event.logged_unix_ms, 0), MAX_UNIX_MS) / 1000, UTC)
    return f"{event.code} at {logged:%Y-%m-%d %H:%M:%S} UTC: {event.words[:MAX_WORDS_CHARACTERS]}"


def _word(reason: agent_pb2.ThrottleReason.ValueType) -> str:
    try:
        return agent_pb2.ThrottleReason.Name(reason).removeprefix("THROTTLE_REASON_").lower()
    except ValueError:  # a newer agent's
        return f"reason {reason}"
