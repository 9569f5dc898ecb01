"""What would stop the demo is said in one line each, before anything is changed."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo import checks


@pytest.fixture
def used_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_machine_with_everything_has_no_obstacles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(checks, "TCP_PORTS", {"direct": ()})
    monkeypatch.setattr(checks, "MEMORY_NEEDED_BYTES", 1)
    monkeypatch.setattr(checks, "TEMPORARY_NEEDED_BYTES", 1)
    monkeypatch.setattr(checks, "CACHE_NEEDED_BYTES", 1)
    assert checks.obstacles("direct", tmp_path, cache_is_filled=False) == []


def test_a_port_in_use_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, used_port: int) -> None:
    monkeypatch.setattr(checks, "TCP_PORTS", {"direct": (used_port,)})
    lines = checks.obstacles("direct", tmp_path, cache_is_filled=True)
    assert any(f"TCP port {used_port} cannot be used" in line for line in lines)


def test_too_little_memory_says_how_much_there_is_and_should_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(checks, "MEMORY_NEEDED_BYTES", 1 << 60)
    lines = checks.obstacles("direct", tmp_path, cache_is_filled=True)
    assert any("GiB of memory are free: the demo needs 1073741824 GiB" in line for line in lines)


def test_too_little_disk_names_the_directory_and_the_way_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(checks, "CACHE_NEEDED_BYTES", 1 << 60)
    cache = tmp_path / "not" / "there" / "yet"
    lines = checks.obstacles("direct", cache, cache_is_filled=False)
    assert any(str(cache) in line and "set DAALU_CACHE" in line for line in lines)
    filled = checks.obstacles("direct", cache, cache_is_filled=True)
    assert not any("DAALU_CACHE" in line for line in filled)


def test_each_obstacle_is_one_line_on_standard_error_and_the_status_is_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, used_port: int
) -> None:
    monkeypatch.setattr(checks, "TCP_PORTS", {"direct": (used_port,)})
    monkeypatch.setattr(checks, "MEMORY_NEEDED_BYTES", 1 << 60)
    assert checks.main(["direct", str(tmp_path), "yes"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("demo: ") for line in lines)


def test_a_containers_limit_counts_as_memory(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("400\n")
    assert checks._memory_of_group(tmp_path) == 600
    (tmp_path / "memory.max").write_text("max\n")
    assert checks._memory_of_group(tmp_path) > 1 << 60
