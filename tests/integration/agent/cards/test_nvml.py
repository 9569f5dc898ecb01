"""The real nvidia-ml-py against a compiled library with failures injected, in a process of its own."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from daalu_wire.v1 import agent_pb2

from tests.support.nvml.stub import Reader, Stub

# The library is opened again after at most 1 + 2 + 4 s here.
RECOVERY_TIMEOUT_S = 20.0
NOT_SUPPORTED, UNKNOWN, DRIVER_NOT_LOADED, GPU_IS_LOST, MISMATCH = 3, 999, 9, 15, 18


@pytest.fixture
def stub(tmp_path: Path) -> Stub:
    stub = Stub(tmp_path)
    stub.install()
    return stub


def until(reader: Reader, wanted: Callable[[agent_pb2.TelemetrySample], bool]) -> agent_pb2.TelemetrySample:
    ends_s = time.monotonic() + RECOVERY_TIMEOUT_S
    while not wanted(sample := reader.sample()):
        assert time.monotonic() < ends_s, sample
        time.sleep(0.1)
    return sample


def is_ok(sample: agent_pb2.TelemetrySample) -> bool:
    return sample.card_system.state == agent_pb2.CARD_SYSTEM_STATE_OK and not any(
        card.lost for card in sample.cards
    )


def kinds(card: agent_pb2.CardSample) -> set[str | None]:
    """Which of value, unsupported and error its readings are; None: never read. Xids come from elsewhere."""
    fields = [field for field in card.DESCRIPTOR.fields if field.message_type is not None]
    readings = [field.name for field in fields if field.name != "xids"]
    return {getattr(card, name).WhichOneof("reading") for name in readings}


def test_every_field_of_a_card_is_read_in_its_unit(stub: Stub) -> None:
    stub.behave({"utilisation": 57, "ecc_corrected": 2, "retired": 3, "remapped": 4, "reasons": "0x24"})
    with Reader(stub) as reader:
        inventory, sample = reader.inventory(), reader.sample()
    system, card, now = sample.card_system, inventory.cards[0], sample.cards[0]
    assert system.state == agent_pb2.CARD_SYSTEM_STATE_OK
    assert (system.driver_version.value, system.nvml_version.value) == ("575.51.03", "12.575.51.03")
    assert (card.uuid, card.name.value) == ("GPU-00000000", "NVIDIA RTX 2000 Ada Generation")
    assert card.pci_bus_id.value == "00000000:01:00.0"
    assert (card.compute_capability.value, card.ecc_mode.value) == ("8.9", "enabled")
    assert (card.memory_total_bytes.value, card.power_limit_watts.value) == (17175674880, 70)
    assert not card.simulated
    assert kinds(now) == {"value"}
    assert (now.uuid, now.lost, now.simulated) == ("GPU-00000000", "", False)
    assert (now.temperature_celsius.value, now.utilisation_percent.value) == (41, 57)
    assert (now.memory_used_bytes.value, now.memory_total_bytes.value) == (1073741824, 17175674880)
    assert now.power_watts.value == pytest.approx(21.5)
    assert (now.clock_graphics_mhz.value, now.clock_memory_mhz.value) == (1620, 8001)
    assert (now.ecc_corrected_count.value, now.ecc_uncorrected_count.value) == (2, 0)
    assert (now.fan_percent.value, now.pcie_generation.value, now.pcie_width_lanes.value) == (30, 4, 8)
    # Three pages for each of the two causes; remapped after correctable errors and after others.
    assert (now.retired_pages_count.value, now.remapped_rows_count.value) == (6, 5)
    assert list(now.throttle.value.reasons) == [
        agent_pb2.THROTTLE_REASON_SOFTWARE_POWER_CAP,
        agent_pb2.THROTTLE_REASON_SOFTWARE_THERMAL,
    ]


def test_a_field_that_fails_leaves_the_others_alone_and_is_never_0(stub: Stub) -> None:
    stub.behave(
        {"nvmlDeviceGetFanSpeed": NOT_SUPPORTED, "nvmlDeviceGetPowerUsage": UNKNOWN, "pcie_width": 0xFFFFFFFF}
    )
    with Reader(stub) as reader:
        card = reader.sample().cards[0]
    assert card.fan_percent.unsupported
    assert card.power_watts.error == "Unknown Error"
    assert card.pcie_width_lanes.unsupported
    assert card.temperature_celsius.value == 41
    assert not card.lost


def test_a_card_without_ecc_has_neither_retired_pages_nor_remapped_rows(stub: Stub) -> None:
    stub.behave({"nvmlDeviceGetEccMode": NOT_SUPPORTED, "nvmlDeviceGetTotalEccErrors": NOT_SUPPORTED})
    with Reader(stub) as reader:
        inventory, sample = reader.inventory(), reader.sample()
    assert inventory.cards[0].ecc_mode.unsupported
    card = sample.cards[0]
    assert card.ecc_uncorrected_count.unsupported
    assert card.retired_pages_count.unsupported
    assert card.remapped_rows_count.unsupported


def test_calls_that_an_older_driver_lacks_are_replaced_by_those_that_it_has(tmp_path: Path) -> None:
    stub = Stub(tmp_path)
    stub.install("WITHOUT_NEWER_CALLS")
    with Reader(stub) as reader:
        card = reader.sample().cards[0]
    assert card.temperature_celsius.value == 41
    assert list(card.throttle.value.reasons) == [agent_pb2.THROTTLE_REASON_IDLE]


def test_a_call_that_the_driver_lacks_altogether_is_unsupported(tmp_path: Path) -> None:
    stub = Stub(tmp_path)
    stub.install("WITHOUT_NEWER_CALLS", "WITHOUT_THROTTLE")
    with Reader(stub) as reader:
        card = reader.sample().cards[0]
    assert card.throttle.unsupported
    assert card.temperature_celsius.value == 41


def test_a_lost_card_is_shown_as_lost_and_the_others_go_on_until_it_is_back(stub: Stub) -> None:
    stub.behave({"count": 2})
    with Reader(stub) as reader:
        reader.sample()
        stub.behave({"count": 2, "every.0": GPU_IS_LOST})
        lost, well = reader.sample().cards
        assert (lost.lost, lost.uuid) == ("GPU is lost", "GPU-00000000")
        assert kinds(lost) == {"error"}
        assert lost.temperature_celsius.error == "GPU is lost"
        assert (well.lost, well.uuid, well.temperature_celsius.value) == ("", "GPU-00000001", 41)
        assert reader.inventory().cards[0].name.error == "GPU is lost"
        stub.behave({"count": 2})
        assert [card.temperature_celsius.value for card in until(reader, is_ok).cards] == [41, 41]


def test_a_card_that_fell_off_the_bus_stays_known_as_lost(stub: Stub) -> None:
    stub.behave({"count": 2})
    with Reader(stub) as reader:
        reader.sample()
        # The second card moves up to the first place.
        stub.behave({"count": 1, "uuid.0": "GPU-00000001"})
        reader.sample()
        sample = reader.sample()
        by_uuid = {card.uuid: card for card in sample.cards}
        assert sample.card_system.state == agent_pb2.CARD_SYSTEM_STATE_OK
        assert len(sample.cards) == 2
        assert "does not find this card" in by_uuid["GPU-00000000"].lost
        assert by_uuid["GPU-00000001"].lost == ""


def test_a_host_without_the_library_says_so_and_recovers_when_it_is_installed(tmp_path: Path) -> None:
    stub = Stub(tmp_path)
    with Reader(stub) as reader:
        sample = reader.sample()
        assert sample.card_system.state == agent_pb2.CARD_SYSTEM_STATE_NO_DRIVER
        assert "install the NVIDIA driver" in sample.card_system.detail
        assert not sample.cards
        stub.install()
        assert until(reader, is_ok).cards[0].temperature_celsius.value == 41


@pytest.mark.parametrize(
    ("code", "state", "way_out"),
    [
        (DRIVER_NOT_LOADED, agent_pb2.CARD_SYSTEM_STATE_NO_DRIVER, "modprobe nvidia"),
        (MISMATCH, agent_pb2.CARD_SYSTEM_STATE_DRIVER_MISMATCH, "restart this host"),
        (UNKNOWN, agent_pb2.CARD_SYSTEM_STATE_ERROR, "Unknown Error"),
    ],
)
def test_a_driver_that_cannot_be_opened_is_said_with_the_way_out_and_recovers(
    stub: Stub, code: int, state: agent_pb2.CardSystemState.ValueType, way_out: str
) -> None:
    stub.behave({"nvmlInitWithFlags": code})
    with Reader(stub) as reader:
        system = reader.sample().card_system
        assert system.state == state
        assert way_out in system.detail
        stub.behave()
        assert until(reader, is_ok).cards[0].temperature_celsius.value == 41


def test_a_driver_that_goes_and_comes_back_is_closed_as_often_as_opened(stub: Stub) -> None:
    with Reader(stub) as reader:
        assert is_ok(reader.sample())
        stub.behave({"nvmlDeviceGetCount_v2": DRIVER_NOT_LOADED, "nvmlInitWithFlags": DRIVER_NOT_LOADED})
        gone = reader.sample()
        assert gone.card_system.state == agent_pb2.CARD_SYSTEM_STATE_NO_DRIVER
        # The card stays known, and nothing about it is.
        assert kinds(gone.cards[0]) == {"error"}
        assert stub.openings() == (1, 1)
        stub.behave()
        until(reader, is_ok)
        assert stub.openings() == (2, 1)


def test_a_host_whose_driver_finds_no_card_says_so(stub: Stub) -> None:
    stub.behave({"count": 0})
    with Reader(stub) as reader:
        sample = reader.sample()
    assert sample.card_system.state == agent_pb2.CARD_SYSTEM_STATE_OK
    assert "finds no card" in sample.card_system.detail


def test_a_call_that_hangs_is_an_error_in_that_sample_and_the_next_go_on(stub: Stub) -> None:
    stub.behave({"count": 2})
    with Reader(stub, sample_deadline_s=0.3) as reader:
        until(reader, lambda sample: len(sample.cards) == 2 and is_ok(sample))
        stub.behave({"count": 2, "hang.1": "nvmlDeviceGetPowerUsage"})
        well, hung = reader.sample().cards
        assert well.temperature_celsius.value == 41
        assert "has not answered" in hung.temperature_celsius.error
        assert kinds(hung) == {"error"}
        # Still hanging: samples and the inventory come all the same.
        assert "has not answered" in reader.sample().card_system.detail
        assert len(reader.inventory().cards) == 2
        stub.behave({"count": 2})
        assert kinds(until(reader, is_ok).cards[1]) == {"value"}


def test_a_card_that_hung_once_is_read_after_the_others(stub: Stub) -> None:
    stub.behave({"count": 2})
    with Reader(stub, sample_deadline_s=0.3) as reader:
        until(reader, lambda sample: len(sample.cards) == 2 and is_ok(sample))
        stub.behave({"count": 2, "hang.0": "nvmlDeviceGetPowerUsage"})
        assert [kinds(card) for card in reader.sample().cards] == [{"error"}, {"error"}]
        stub.behave({"count": 2})
        until(reader, lambda sample: is_ok(sample) and kinds(sample.cards[0]) == {"value"})
        stub.behave({"count": 2, "hang.0": "nvmlDeviceGetPowerUsage"})
        assert [kinds(card) for card in reader.sample().cards] == [{"error"}, {"value"}]
        stub.behave({"count": 2})


def test_a_reader_that_hangs_does_not_keep_its_process_from_ending(stub: Stub) -> None:
    stub.behave({"hang": "nvmlInitWithFlags"})
    with Reader(stub, sample_deadline_s=0.1) as reader:
        sample = reader.sample()
        assert sample.card_system.state == agent_pb2.CARD_SYSTEM_STATE_ERROR
        assert "has not answered" in sample.card_system.detail


def test_failing_for_long_costs_no_memory(stub: Stub) -> None:
    stub.behave({"count": 2, "every.0": GPU_IS_LOST})
    with Reader(stub) as reader:
        for _ in range(50):
            reader.sample()
        before = reader.resident_bytes()
        for _ in range(300):
            reader.sample()
        assert reader.resident_bytes() - before < 2 * 1024 * 1024


def test_the_drivers_complaints_in_the_kernels_log_are_each_cards_own(stub: Stub) -> None:
    stub.behave({"count": 2})
    stub.complain(43, "pid=7, name=python, Ch 00000008", address="0000:01:00")
    with Reader(stub) as reader:
        first, second = reader.sample().cards
        assert [event.code for event in first.xids.value.events] == [43]
        assert second.xids.WhichOneof("reading") == "value"
        assert not second.xids.value.events
        before_ms = time.time() * 1000
        stub.complain(79, "GPU has fallen off the bus.")
        stub.behave({"count": 2, "every.0": GPU_IS_LOST})
        lost = reader.sample().cards[0]
    # It does not say any more where it sits; that is remembered.
    assert lost.lost
    newest = lost.xids.value.events[-1]
    assert (newest.code, newest.words) == (79, "GPU has fallen off the bus.")
    assert abs(newest.logged_unix_ms - before_ms) < 60_000


def test_where_the_kernel_log_cannot_be_had_the_driver_itself_tells(stub: Stub) -> None:
    stub.kernel_log.unlink()
    stub.behave({"count": 2})
    with Reader(stub) as reader:
        assert [list(card.xids.value.events) for card in reader.sample().cards] == [[], []]
        stub.behave({"count": 2, "xids.1": 2, "xid.1": 48})
        first, second = reader.sample().cards
        assert not first.xids.value.events
        assert [event.code for event in second.xids.value.events] == [48, 48]
        # What was told stays known, also when the library has to be opened anew.
        stub.behave({"count": 2, "nvmlDeviceGetCount_v2": UNKNOWN})
        assert reader.sample().card_system.state == agent_pb2.CARD_SYSTEM_STATE_ERROR
        stub.behave({"count": 2, "xids.1": 2, "xid.1": 48})
        again = until(reader, is_ok).cards[1]
        assert [event.code for event in again.xids.value.events] == [48, 48]


def test_one_complaint_that_both_sources_have_is_shown_once(stub: Stub) -> None:
    with Reader(stub) as reader:
        reader.sample()
        stub.complain(79, "GPU has fallen off the bus.")
        stub.behave({"xids": 1, "xid": 79})
        (card,) = reader.sample().cards
        assert [event.words for event in card.xids.value.events] == ["GPU has fallen off the bus."]


@pytest.mark.parametrize("lacks", ["functions", "support"])
def test_where_neither_source_can_be_had_that_is_an_error_and_not_none(stub: Stub, lacks: str) -> None:
    stub.kernel_log.unlink()
    if lacks == "functions":
        stub.install("WITHOUT_EVENTS")
    else:
        stub.behave({"nvmlDeviceRegisterEvents": NOT_SUPPORTED})
    with Reader(stub) as reader:
        (card,) = reader.sample().cards
        assert "cannot be read: No such file" in card.xids.error
        assert card.temperature_celsius.value == 41
        stub.complain(48, "DBE")
        assert [event.code for event in reader.sample().cards[0].xids.value.events] == [48]
