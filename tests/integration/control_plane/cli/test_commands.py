"""The CLI against a control plane that runs."""

import json
import signal
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.control_plane import (
    INTERRUPTIBLE_DAALU,
    ControlPlane,
    daalu,
    free_ports,
    initialised,
    serving,
)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    plane = initialised(tmp_path_factory.mktemp("plane") / "data")
    with serving(plane):
        yield plane


def test_a_tenant_its_user_and_its_key_are_made_listed_and_ended(plane: ControlPlane) -> None:
    tenant_id = plane.daalu("tenants", "create", "acme").stdout.strip()
    assert tenant_id in plane.daalu("tenants", "list").stdout
    assert plane.daalu("users", "create", "ann@example.org", "--tenant", "acme").returncode == 0
    users = json.loads(plane.daalu("users", "list", "--tenant", tenant_id, "--json").stdout)
    assert [(user["email"], user["role"]) for user in users] == [("ann@example.org", "member")]
    secret = plane.daalu("keys", "create", "laptop", "--tenant", "acme", "--purpose", "coding").stdout.strip()
    (key,) = json.loads(plane.daalu("keys", "list", "--json").stdout)
    assert (key["purpose"], key["hint"]) == ("coding", secret[:8])
    assert plane.daalu("keys", "revoke", "--yes", key["id"]).returncode == 0
    (key,) = json.loads(plane.daalu("keys", "list", "--json").stdout)
    assert key["revoked_unix_ms"] is not None


def test_an_invite_is_the_only_thing_on_standard_output(plane: ControlPlane) -> None:
    plane.daalu("tenants", "create", "inviting")
    result = plane.daalu("agents", "invite", "--tenant", "inviting")
    assert result.stdout.startswith("daalu-invite-")
    assert result.stdout.count("\n") == 1
    assert "good once" in result.stderr


@pytest.mark.parametrize("listing", ["tenants", "users", "keys", "agents", "models", "calls"])
def test_every_listing_speaks_json(plane: ControlPlane, listing: str) -> None:
    assert isinstance(json.loads(plane.daalu(listing, "list", "--json").stdout), list)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["agents", "show", "nobody"], "there is no agent 'nobody'"),
        (["agents", "revoke", "nobody"], "there is no agent 'nobody'"),
        (["models", "deploy", "x", "--agent", "nobody"], "there is no agent 'nobody'"),
        (["calls", "explain", "nothing"], "there is no call 'nothing'"),
        (["keys", "create", "x", "--tenant", "nobody"], "there is no tenant 'nobody'"),
        (["calls", "list", "--tenant", "nobody"], "there is no tenant 'nobody'"),
    ],
)
def test_an_unknown_name_is_one_line_and_exit_code_1(
    plane: ControlPlane, arguments: list[str], words: str
) -> None:
    result = plane.daalu(*arguments)
    assert result.returncode == 1
    assert result.stderr == f"daalu: {words}\n"


def test_a_wrong_command_line_is_exit_code_2(plane: ControlPlane) -> None:
    assert plane.daalu("keys", "create", "x").returncode == 2
    assert plane.daalu("keys", "create", "x", "--tenant", "a", "--purpose", "other").returncode == 2
    assert plane.daalu("nothing").returncode == 2


def test_a_wrong_token_is_told_as_such(plane: ControlPlane) -> None:
    result = plane.daalu("tenants", "list", DAALU_TOKEN="dop-wrong")
    assert result.returncode == 1
    assert "refused the operator's token" in result.stderr
    assert "dop-wrong" not in result.stderr


def test_a_control_plane_that_does_not_run_is_told_as_such(plane: ControlPlane) -> None:
    (port,) = free_ports(1)
    result = plane.daalu("tenants", "list", DAALU_URL=f"http://127.0.0.1:{port}")
    assert result.returncode == 3
    assert "is `daalu serve` running?" in result.stderr


def test_from_another_machine_a_certificate_that_is_not_trusted_is_told_as_such(
    plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    flags = ("--url", plane.tls_url, "--token", plane.token, "--data", str(elsewhere))
    result = daalu("tenants", "list", *flags)
    assert result.returncode == 1
    assert "a certificate that is not trusted" in result.stderr


def test_a_certificate_other_than_the_data_directorys_is_not_trusted(
    plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = initialised(tmp_path_factory.mktemp("other") / "data")
    result = daalu("tenants", "list", "--url", plane.tls_url, "--data", str(other.data))
    assert result.returncode == 1
    assert "a certificate that is not trusted" in result.stderr


def test_without_a_data_directory_the_way_out_is_told(tmp_path_factory: pytest.TempPathFactory) -> None:
    result = daalu("tenants", "list", "--data", str(tmp_path_factory.mktemp("none")))
    assert result.returncode == 1
    assert "--url and --token" in result.stderr


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1:8080", "ftp://localhost", "localhost:8443", "https://[::1"]
)
def test_the_operators_token_never_travels_readable_or_to_no_address(plane: ControlPlane, url: str) -> None:
    result = plane.daalu("tenants", "list", "--url", url)
    assert result.returncode == 1
    assert result.stderr.startswith(f"daalu: --url {url!r}")
    assert "https://" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_certificate_that_is_none_is_told_as_such(tmp_path_factory: pytest.TempPathFactory) -> None:
    broken = initialised(tmp_path_factory.mktemp("broken") / "data")
    for content in (b"\xff\xfe\x00", b"not a certificate"):
        (broken.data / "tls" / "server.pem").write_bytes(content)
        result = broken.daalu("tenants", "list")
        assert result.returncode == 1
        assert "certificate is none" in result.stderr


def test_an_interrupted_command_ends_with_130(plane: ControlPlane) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        command = [*INTERRUPTIBLE_DAALU, "tenants", "list"]
        process = subprocess.Popen(
            [*command, "--url", url, "--token", plane.token], stderr=subprocess.PIPE, text=True
        )
        connection, _ = silent.accept()
        with connection:
            # It has asked, and waits for an answer that does not come.
            connection.recv(1)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
