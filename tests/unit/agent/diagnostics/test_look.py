"""What is read of the kernel's files, and what is not believed."""

import os
import socket
from pathlib import Path

import pytest
from daalu_wire.v1 import agent_pb2

from agent.diagnostics import look
from agent.diagnostics.judge_cards import PciLink


def _card(bus_id: str) -> agent_pb2.Card:
    return agent_pb2.Card(uuid="GPU-1", pci_bus_id=agent_pb2.TextReading(value=bus_id))


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    directory = tmp_path / "devices" / "0000:65:00.0"
    directory.mkdir(parents=True)
    for name, text in (
        ("current_link_speed", "2.5 GT/s PCIe\n"),
        ("max_link_speed", "16.0 GT/s PCIe\n"),
        ("current_link_width", "8\n"),
        ("max_link_width", "Unknown\n"),
    ):
        (directory / name).write_text(text)
    return tmp_path / "devices"


def test_a_card_is_found_at_the_address_that_the_driver_gives(devices: Path) -> None:
    found = look.pci_links([_card("00000000:65:00.0")], devices)
    directory = str(devices / "0000:65:00.0")
    assert found == {"GPU-1": PciLink(directory, "2.5 GT/s PCIe", "16.0 GT/s PCIe", 8, None)}


@pytest.mark.parametrize("bus_id", ["", "00000000:99:00.0", "../../etc", "00000000:../65:00.0", "0:\0"])
def test_an_address_that_is_none_finds_nothing(devices: Path, bus_id: str) -> None:
    assert look.pci_links([_card(bus_id)], devices) == {}


def test_a_disk_is_that_of_the_nearest_directory_and_nothing_is_left_there(tmp_path: Path) -> None:
    found = look.disk(tmp_path / "not" / "there")
    assert (found.path, found.flush_s) == (str(tmp_path), None)
    assert 0 < found.free_bytes < found.total_bytes
    flushed = look.disk(tmp_path, flush=True).flush_s
    assert flushed is not None
    assert flushed > 0
    assert list(tmp_path.iterdir()) == []


def test_memory_is_read_in_bytes_and_a_file_without_it_is_an_error(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 100 kB\nMemAvailable: 40 kB\nSwapFree: 0 kB\nHugePages_Total: 0\n")
    assert look.memory(meminfo) == (102_400, 40_960, 0)
    meminfo.write_text("MemTotal: 100 kB\n")
    with pytest.raises(ValueError, match="MemAvailable"):
        look.memory(meminfo)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_path_to_a_peer_on_this_machine_is_as_wide_as_loopback(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as peer:
        peer.bind((address, 0))
        port = peer.getsockname()[1]
        endpoint = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        found = look.path_mtu(endpoint, 1_280)
        sizes = [len(peer.recv(65_536)) for _ in range(2)]
    # An IPv4 packet is no larger, whatever the interface.
    assert found.path_bytes in (65_535, int(Path("/sys/class/net/lo/mtu").read_text()))
    # With their own headers they are as large as the tunnel's largest packet makes one.
    assert sizes == [1_280 + 60 - 28 if family == socket.AF_INET else 1_280 + 80 - 48] * 2


def test_an_endpoint_that_nobody_listens_at_is_measured_all_the_same() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        port = peer.getsockname()[1]
    assert look.path_mtu(f"127.0.0.1:{port}", 1_280).path_bytes > 1_340


def test_an_endpoint_that_is_none_is_an_error() -> None:
    with pytest.raises(ValueError, match="not host:port"):
        look.path_mtu("control.example", 1_280)


def test_files_of_this_machine_are_understood() -> None:
    total, available, _ = look.memory()
    assert 0 < available < total == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert look.interface_mtu("lo") > 1_280
