"""One driver call to one reading."""

import pynvml
import pytest
from daalu_wire.v1 import agent_pb2

from agent.cards.readings import CardLost, reading, text_reading, throttle_reading, throttle_reasons


def raises(error: type[Exception]) -> object:
    raise error


@pytest.mark.parametrize("value", [0, 41, 0xFFFF_FFFE])
def test_a_value_is_scaled_and_0_is_a_value(value: int) -> None:
    read = reading(lambda: value, 0.5)
    assert read.WhichOneof("reading") == "value"
    assert read.value == value / 2


@pytest.mark.parametrize("value", [0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF])
def test_what_the_driver_marks_as_not_available_is_unsupported(value: int) -> None:
    assert reading(lambda: value, 0.001).unsupported
    assert throttle_reading(lambda: value).unsupported


@pytest.mark.parametrize(
    "error",
    [pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound, pynvml.NVMLError_VgpuEccNotSupported],
)
def test_a_call_that_card_or_driver_lacks_is_unsupported(error: type[Exception]) -> None:
    assert reading(lambda: raises(error)).unsupported  # type: ignore[arg-type, return-value]
    assert text_reading(lambda: raises(error)).unsupported  # type: ignore[arg-type, return-value]


def test_any_other_failure_is_the_drivers_own_words() -> None:
    read = reading(lambda: raises(pynvml.NVMLError_NoPermission))  # type: ignore[arg-type, return-value]
    assert read.error == "Insufficient Permissions"


@pytest.mark.parametrize("error", [pynvml.NVMLError_GpuIsLost, pynvml.NVMLError_GpuNotFound])
def test_a_lost_card_is_no_matter_of_one_reading(error: type[Exception]) -> None:
    with pytest.raises(CardLost):
        reading(lambda: raises(error))  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("name", ["NVIDIA RTX 2000 Ada Generation", b"NVIDIA RTX 2000 Ada Generation"])
def test_text_may_come_as_bytes(name: str | bytes) -> None:
    assert text_reading(lambda: name).value == "NVIDIA RTX 2000 Ada Generation"


def test_text_that_is_not_utf_8_is_an_error() -> None:
    assert "UTF-8" in text_reading(lambda: b"\xff\xfe").error


def test_no_throttle_reason_is_a_value_too() -> None:
    read = throttle_reading(lambda: 0)
    assert read.WhichOneof("reading") == "value"
    assert not read.value.reasons


def test_a_throttle_reason_that_is_not_known_is_not_hidden() -> None:
    assert throttle_reasons(0x8 | 0x400) == [
        agent_pb2.THROTTLE_REASON_HARDWARE_SLOWDOWN,
        agent_pb2.THROTTLE_REASON_UNSPECIFIED,
    ]
