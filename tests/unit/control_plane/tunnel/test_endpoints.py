from pathlib import Path

import pytest

from control_plane.tunnel.endpoints import load_endpoints, save_endpoints


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.json"
    assert load_endpoints(path) == {}
    for endpoints in ({"a": "198.51.100.7:1", "b": "[2001:db8::1]:2"}, {}):
        save_endpoints(path, endpoints)
        assert load_endpoints(path) == endpoints
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"a": 1}', b"\xff"])
def test_a_broken_file_costs_only_time(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "endpoints.json"
    path.write_bytes(content)
    assert load_endpoints(path) == {}


def test_a_full_disk_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_endpoints(tmp_path / "gone" / "endpoints.json", {"a": "h:1"})
    assert "cannot be kept" in caplog.text
