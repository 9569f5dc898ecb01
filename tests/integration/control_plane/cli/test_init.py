"""`daalu init`."""

from pathlib import Path

import pytest
from cryptography import x509

from control_plane.config import load_settings
from tests.support.control_plane import daalu, initialised

_SECRETS = ["authority/root.key", "tls/server.key", "hub/private.key", "ticket-secret", "operator-token"]


def _contents(data: Path) -> dict[str, bytes]:
    files = [path for path in data.rglob("*") if path.is_file() and "daalu.db" not in path.name]
    return {str(path.relative_to(data)): path.read_bytes() for path in files}


def test_everything_is_made_and_secrets_are_their_owners(tmp_path: Path) -> None:
    data = initialised(tmp_path / "data").data
    assert {*_SECRETS, "authority/root.pem", "tls/server.pem", "config.toml"} <= _contents(data).keys()
    for name in [*_SECRETS, "daalu.db", "config.toml"]:
        assert (data / name).stat().st_mode & 0o777 == 0o600, name
    assert len((data / "ticket-secret").read_bytes()) == 32


def test_the_certificate_is_good_for_the_public_name_and_loopback(tmp_path: Path) -> None:
    result = daalu("init", "--data", str(tmp_path / "d"), "--public-url", "https://control.example:8443")
    assert result.returncode == 0, result.stderr
    certificate = x509.load_pem_x509_certificate((tmp_path / "d/tls/server.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {"control.example", "localhost"}
    assert {str(each) for each in names.get_values_for_type(x509.IPAddress)} == {"127.0.0.1", "::1"}


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    data = initialised(tmp_path / "data").data
    before = _contents(data)
    result = daalu("init", "--data", str(data))
    assert (result.returncode, "nothing was changed" in result.stdout) == (0, True)
    assert _contents(data) == before


def test_a_run_that_was_cut_off_is_completed(tmp_path: Path) -> None:
    data = initialised(tmp_path / "data").data
    before = _contents(data)
    (data / "tls" / "server.pem").unlink()
    (data / "ticket-secret").unlink()
    assert daalu("init", "--data", str(data)).returncode == 0
    after = _contents(data)
    assert after.keys() == before.keys()
    assert after["authority/root.key"] == before["authority/root.key"]
    assert after["operator-token"] == before["operator-token"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--public-url", "http://x"], "public_url"),
        (["--public-url", "https://x", "--listen-plain", "0.0.0.0:8080"], "loopback only"),
        (["--public-url", "https://x", "--listen", "8443"], "is not an address"),
        (
            ["--public-url", "https://x", "--database-url", "mysql://x"],
            "only SQLite and PostgreSQL are supported",
        ),
        ([], "--public-url"),
    ],
)
def test_settings_that_cannot_work_are_refused_in_one_line(
    tmp_path: Path, flags: list[str], words: str
) -> None:
    result = daalu("init", "--data", str(tmp_path / "d"), *flags)
    assert result.returncode == 1
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_flags_that_differ_from_what_is_written_are_refused(tmp_path: Path) -> None:
    data = initialised(tmp_path / "data").data
    result = daalu("init", "--data", str(data), "--hub-port", "1234")
    assert result.returncode == 1
    assert "--hub-port differs from" in result.stderr


def test_files_named_by_a_flag_are_written_so_that_they_are_found_from_anywhere(tmp_path: Path) -> None:
    data = tmp_path / "d"
    result = daalu("init", "--data", str(data), "--public-url", "https://x", "--vendors", "vendors.toml")
    assert result.returncode == 0, result.stderr
    assert load_settings(data).vendors == Path("vendors.toml").absolute()
