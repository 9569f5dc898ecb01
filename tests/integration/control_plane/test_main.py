"""`daalu serve`: starting, what it refuses, its memory, and stopping."""

import os
import re
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

from tests.support.control_plane import ControlPlane, daalu, initialised, serving

MEMORY_LIMIT_MIB = 200


@pytest.fixture
def plane(tmp_path: Path) -> ControlPlane:
    return initialised(tmp_path / "data")


def _resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found.group(1)) / 1024


def test_an_idle_control_plane_is_small(plane: ControlPlane) -> None:
    with serving(plane) as process:
        headers = {"authorization": f"Bearer {plane.token}"}
        for path in ("tenants", "agents", "calls", "models"):
            assert httpx2.get(f"{plane.plain_url}/api/v1/{path}", headers=headers).status_code == 200
        assert _resident_mib(process.pid) < MEMORY_LIMIT_MIB


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_with_idle_connections_open(
    plane: ControlPlane, number: signal.Signals
) -> None:
    with serving(plane) as process, socket.create_connection(("127.0.0.1", plane.plain_port)) as idle:
        idle.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert idle.recv(1000).startswith(b"HTTP/1.1 200")
        process.send_signal(number)
        assert process.wait(30) == 0
    log = (plane.data / "serve.log").read_text()
    assert "message=stopped" in log
    assert "Traceback" not in log


def test_a_port_in_use_is_one_line_that_names_the_flag(plane: ControlPlane) -> None:
    with socket.create_server(("127.0.0.1", plane.plain_port)):
        result = daalu("serve", "--data", str(plane.data))
    assert result.returncode == 1
    assert result.stderr == (
        f"daalu: cannot listen on 127.0.0.1:{plane.plain_port}: another program uses this port"
        " (stop it, or change --listen-plain)\n"
    )


def test_plain_http_off_loopback_is_refused(plane: ControlPlane) -> None:
    result = daalu("serve", "--data", str(plane.data), "--listen-plain", "0.0.0.0:8080")
    assert result.returncode == 1
    assert "plain HTTP is served on loopback only" in result.stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("operator-token", "operator-token"),
        ("ticket-secret", "ticket-secret"),
        ("authority/root.key", "root.key"),
        ("hub/private.key", "private.key"),
        ("tls/server.pem", "server.pem"),
    ],
)
def test_a_missing_file_is_one_line_that_names_it(plane: ControlPlane, name: str, words: str) -> None:
    (plane.data / name).unlink()
    result = daalu("serve", "--data", str(plane.data))
    assert result.returncode == 1
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_database_of_a_newer_version_is_left_alone(plane: ControlPlane) -> None:
    with sqlite3.connect(plane.data / "daalu.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    for command in ("serve", "init"):
        result = daalu(command, "--data", str(plane.data))
        assert result.returncode == 1
        assert "a newer version of Daalu has used this database" in result.stderr
        assert result.stderr.count("\n") == 1


def test_vendors_with_a_fault_stop_the_start_with_one_line_that_has_no_key(plane: ControlPlane) -> None:
    (plane.data / "vendors.toml").write_text('[[vendor]]\nname = "x"\nbase_url = "https://x"\nkey = "sk-x"\n')
    result = daalu("serve", "--data", str(plane.data))
    assert result.returncode == 1
    assert "vendors.toml: vendor x: key must not stand in this file" in result.stderr
    assert "sk-x" not in result.stderr
    assert result.stderr.count("\n") == 1
    elsewhere = daalu("serve", "--data", str(plane.data), "--vendors", str(plane.data / "none.toml"))
    assert "none.toml is not there" in elsewhere.stderr


def test_a_part_that_ends_stops_everything_with_one_line(plane: ControlPlane) -> None:
    program = (
        "import control_plane.main as main\n"
        "async def broken(self): raise RuntimeError('a defect')\n"
        "main.Fleet.run = broken\n"
        "from control_plane.cli import main; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, "serve", "--data", str(plane.data)],
        capture_output=True, text=True, timeout=60, env=dict(os.environ),
    )  # fmt: skip
    assert result.returncode == 1
    *log, last = result.stderr.splitlines()
    assert last.startswith("daalu: the part 'fleet' ended unexpectedly")
    assert any("RuntimeError('a defect')" in line for line in log)
    # Each event one line, its traceback within it.
    assert all(line.startswith("time=") for line in log)


def test_a_header_bomb_over_tls_is_refused_within_a_second(plane: ControlPlane) -> None:
    context = ssl.create_default_context(cafile=plane.data / "tls" / "server.pem")
    with (
        serving(plane),
        socket.create_connection(("127.0.0.1", plane.tls_port)) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as connection,
    ):
        connection.settimeout(10)
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 5000)
        started = time.monotonic()
        answer = connection.recv(10_000)
        assert time.monotonic() - started < 1.0
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert b'"code": "headers_too_large"' in answer


def test_commands_start_without_what_only_serving_needs() -> None:
    program = (
        "import sys, control_plane.cli; print(sorted({'grpc', 'fastapi', 'uvicorn'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env=dict(os.environ)
    )
    assert result.stdout.strip() == "[]", result.stderr
