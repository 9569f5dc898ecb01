"""Which driver call gives which field of a card. Runs in the driver's thread only."""

from collections.abc import Callable, Mapping
from typing import Any

import pynvml
from daalu_wire.v1 import agent_pb2

from agent.cards.readings import (
    CardLost,
    NotAvailable,
    ask,
    reading,
    text_reading,
    throttle_reading,
)

Handle = Any
_Number = Callable[[Handle], float]

_WATTS_PER_MILLIWATT = 1 / 1000


def _newest_of(*names: str) -> Callable[..., Any]:
    """The first of these calls that the host's library has: drivers bring new ones and drop old ones."""

    def call(*arguments: Any) -> Any:
        for name in names[:-1]:
            try:
                return getattr(pynvml, name)(*arguments)
            except pynvml.NVMLError_FunctionNotFound:
                continue
        return getattr(pynvml, names[-1])(*arguments)

    return call


_temperature = _newest_of("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature")
_throttle = _newest_of("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")


def _ecc_errors(kind: int) -> _Number:
    # Since the driver was loaded, not over the card's life: a row remapped years ago is no alarm today.
    return lambda handle: pynvml.nvmlDeviceGetTotalEccErrors(handle, kind, pynvml.NVML_VOLATILE_ECC)


def _retired_pages(handle: Handle) -> int:
    causes = range(pynvml.NVML_PAGE_RETIREMENT_CAUSE_COUNT)
    return sum(len(pynvml.nvmlDeviceGetRetiredPages(handle, cause)) for cause in causes)


def _remapped_rows(handle: Handle) -> int:
    corrected, uncorrected, _, _ = pynvml.nvmlDeviceGetRemappedRows(handle)
    return int(corrected) + int(uncorrected)


# Field of CardSample: the call, and what its unit is to be multiplied with.
_NUMBERS: Mapping[str, tuple[_Number, float]] = {
    "temperature_celsius": (lambda handle: _temperature(handle, pynvml.NVML_TEMPERATURE_GPU), 1),
    "utilisation_percent": (lambda handle: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu, 1),
    "memory_used_bytes": (lambda handle: pynvml.nvmlDeviceGetMemoryInfo(handle).used, 1),
    "memory_total_bytes": (lambda handle: pynvml.nvmlDeviceGetMemoryInfo(handle).total, 1),
    "power_watts": (pynvml.nvmlDeviceGetPowerUsage, _WATTS_PER_MILLIWATT),
    "clock_graphics_mhz": (
        lambda handle: pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_GRAPHICS),
        1,
    ),
    "clock_memory_mhz": (lambda handle: pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_MEM), 1),
    "ecc_corrected_count": (_ecc_errors(pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED), 1),
    "ecc_uncorrected_count": (_ecc_errors(pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED), 1),
    "fan_percent": (pynvml.nvmlDeviceGetFanSpeed, 1),
    "pcie_generation": (pynvml.nvmlDeviceGetCurrPcieLinkGeneration, 1),
    "pcie_width_lanes": (pynvml.nvmlDeviceGetCurrPcieLinkWidth, 1),
}
# A card without ECC memory may answer these with a success that means nothing.
_ECC_NUMBERS: Mapping[str, _Number] = {
    "retired_pages_count": _retired_pages,
    "remapped_rows_count": _remapped_rows,
}


def read_card(handle: Handle, index: int, uuid: str) -> agent_pb2.Card:
    """What does not change. Raises CardLost."""
    return agent_pb2.Card(
        index=index,
        uuid=uuid,
        name=text_reading(lambda: pynvml.nvmlDeviceGetName(handle)),
        memory_total_bytes=reading(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle).total),
        pci_bus_id=text_reading(lambda: pynvml.nvmlDeviceGetPciInfo(handle).busId),
        compute_capability=text_reading(lambda: _compute_capability(handle)),
        power_limit_watts=reading(
            lambda: pynvml.nvmlDeviceGetEnforcedPowerLimit(handle), _WATTS_PER_MILLIWATT
        ),
        ecc_mode=text_reading(lambda: _ecc_mode(handle)),
    )


def read_sample(handle: Handle, index: int, uuid: str) -> agent_pb2.CardSample:
    """What changes. Raises CardLost."""
    sample = agent_pb2.CardSample(index=index, uuid=uuid)
    for field, (call, scale) in _NUMBERS.items():
        getattr(sample, field).CopyFrom(reading(lambda call=call: call(handle), scale))  # type: ignore[misc]
    has_ecc = text_reading(lambda: _ecc_mode(handle)).WhichOneof("reading") != "unsupported"
    for field, call in _ECC_NUMBERS.items():
        read = reading(lambda call=call: call(handle)) if has_ecc else agent_pb2.Reading(unsupported=True)  # type: ignore[misc]
        getattr(sample, field).CopyFrom(read)
    sample.throttle.CopyFrom(throttle_reading(lambda: _throttle(handle)))
    return sample


def unread_sample(index: int, uuid: str, error: str, lost: str = "") -> agent_pb2.CardSample:
    """A sample of a card that gave none: every reading carries the error."""
    sample = agent_pb2.CardSample(index=index, uuid=uuid, lost=lost)
    for field in (*_NUMBERS, *_ECC_NUMBERS):
        getattr(sample, field).error = error
    sample.throttle.error = error
    return sample


def unread_card(index: int, uuid: str, error: str) -> agent_pb2.Card:
    """A card that could be counted and not read."""
    failed = agent_pb2.Reading(error=error)
    failed_text = agent_pb2.TextReading(error=error)
    return agent_pb2.Card(
        index=index,
        uuid=uuid,
        name=failed_text,
        memory_total_bytes=failed,
        pci_bus_id=failed_text,
        compute_capability=failed_text,
        power_limit_watts=failed,
        ecc_mode=failed_text,
    )


def read_uuid(handle: Handle) -> str:
    """Empty where the driver does not say. Raises CardLost."""
    return text_reading(lambda: pynvml.nvmlDeviceGetUUID(handle)).value


def read_bus_id(handle: Handle) -> str:
    """Empty where the driver does not say. Raises CardLost."""
    return text_reading(lambda: pynvml.nvmlDeviceGetPciInfo(handle).busId).value


def open_handle(index: int) -> Handle:
    """Raises CardLost, or another NVMLError."""
    try:
        return ask(lambda: pynvml.nvmlDeviceGetHandleByIndex(index))
    except NotAvailable as error:
        raise CardLost("the driver has no access to this card") from error


def _compute_capability(handle: Handle) -> str:
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    return f"{major}.{minor}"


def _ecc_mode(handle: Handle) -> str:
    current, _ = pynvml.nvmlDeviceGetEccMode(handle)
    return "enabled" if current else "disabled"
