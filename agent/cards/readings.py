"""One driver call to one reading: a value, unsupported, or the driver's own error."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import pynvml
from daalu_wire.v1 import agent_pb2

T = TypeVar("T")

# nvml.h: NVML_VALUE_NOT_AVAILABLE, all bits set in the width of the call's type.
NOT_AVAILABLE = frozenset({0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF})

_UNSUPPORTED = (
    pynvml.NVMLError_NotSupported,
    pynvml.NVMLError_FunctionNotFound,
    pynvml.NVMLError_VgpuEccNotSupported,
    pynvml.NVMLError_Deprecated,
)
_LOST = (pynvml.NVMLError_GpuIsLost, pynvml.NVMLError_GpuNotFound)

_REASONS: Mapping[int, agent_pb2.ThrottleReason.ValueType] = {
    pynvml.nvmlClocksEventReasonGpuIdle: agent_pb2.THROTTLE_REASON_IDLE,
    pynvml.nvmlClocksEventReasonApplicationsClocksSetting: agent_pb2.THROTTLE_REASON_APPLICATION_CLOCKS,
    pynvml.nvmlClocksEventReasonSwPowerCap: agent_pb2.THROTTLE_REASON_SOFTWARE_POWER_CAP,
    pynvml.nvmlClocksEventReasonHwSlowdown: agent_pb2.THROTTLE_REASON_HARDWARE_SLOWDOWN,
    pynvml.nvmlClocksEventReasonSyncBoost: agent_pb2.THROTTLE_REASON_SYNC_BOOST,
    pynvml.nvmlClocksEventReasonSwThermalSlowdown: agent_pb2.THROTTLE_REASON_SOFTWARE_THERMAL,
    pynvml.nvmlClocksEventReasonHwThermalSlowdown: agent_pb2.THROTTLE_REASON_HARDWARE_THERMAL,
    pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown: agent_pb2.THROTTLE_REASON_HARDWARE_POWER_BRAKE,
    pynvml.nvmlClocksEventReasonDisplayClockSetting: agent_pb2.THROTTLE_REASON_DISPLAY_CLOCKS,
}


class CardLost(Exception):
    """The driver cannot reach this card any more; nothing else that it says of it means anything."""


class NotAvailable(Exception):
    """The call succeeded and said that there is no such value."""


def reading(read: Callable[[], float], scale: float = 1) -> agent_pb2.Reading:
    """`read` in the driver's unit, times `scale`. Raises CardLost."""
    try:
        return agent_pb2.Reading(value=ask(lambda: _available(read())) * scale)
    except NotAvailable:
        return agent_pb2.Reading(unsupported=True)
    except (pynvml.NVMLError, UnicodeDecodeError) as error:
        return agent_pb2.Reading(error=words(error))


def text_reading(read: Callable[[], str | bytes]) -> agent_pb2.TextReading:
    """Raises CardLost."""
    try:
        value = ask(read)
        return agent_pb2.TextReading(value=value.decode() if isinstance(value, bytes) else value)
    except NotAvailable:
        return agent_pb2.TextReading(unsupported=True)
    except (pynvml.NVMLError, UnicodeDecodeError) as error:
        return agent_pb2.TextReading(error=words(error))


def throttle_reading(read: Callable[[], int]) -> agent_pb2.ThrottleReading:
    """Raises CardLost."""
    try:
        reasons = throttle_reasons(ask(lambda: int(_available(read()))))
        return agent_pb2.ThrottleReading(value=agent_pb2.ThrottleReasons(reasons=reasons))
    except NotAvailable:
        return agent_pb2.ThrottleReading(unsupported=True)
    except (pynvml.NVMLError, UnicodeDecodeError) as error:
        return agent_pb2.ThrottleReading(error=words(error))


def throttle_reasons(bits: int) -> list[agent_pb2.ThrottleReason.ValueType]:
    """Bits that this version does not know become one UNSPECIFIED: throttled, but by what is not known."""
    reasons = [reason for bit, reason in _REASONS.items() if bits & bit]
    if bits & ~sum(_REASONS):
        reasons.append(agent_pb2.THROTTLE_REASON_UNSPECIFIED)
    return reasons


def ask(read: Callable[[], T]) -> T:
    """Raises CardLost, NotAvailable, or any other NVMLError."""
    try:
        return read()
    except _LOST as error:
        raise CardLost(words(error)) from error
    except _UNSUPPORTED as error:
        raise NotAvailable from error


def words(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "the driver sent text that is not UTF-8"
    return str(error).strip() or type(error).__name__


def _available(value: float) -> float:
    if value in NOT_AVAILABLE:
        raise NotAvailable
    return value
