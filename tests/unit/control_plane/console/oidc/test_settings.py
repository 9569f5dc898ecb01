"""oidc.toml: what is taken, and what is said of what is not."""

from pathlib import Path

import pytest

from control_plane.config import InvalidSetting
from control_plane.console import load_oidc

GOOD = {"issuer": "https://accounts.example", "client_id": "daalu", "client_secret_file": "secret"}


def _file(folder: Path, values: dict[str, str], *, mode: int = 0o600) -> Path:
    secret = folder / "secret"
    secret.write_text("s3cret\n")
    secret.chmod(mode)
    path = folder / "oidc.toml"
    path.write_text("".join(f'{name} = "{value}"\n' for name, value in values.items()))
    return path


def test_no_file_is_no_provider(tmp_path: Path) -> None:
    assert load_oidc(tmp_path / "oidc.toml") is None


def test_a_whole_file_is_read_and_shows_no_secret(tmp_path: Path) -> None:
    found = load_oidc(_file(tmp_path, GOOD | {"email_domain": "acme.test", "name": "Acme"}))
    assert found is not None
    assert (found.issuer, found.client_id, found.client_secret) == (GOOD["issuer"], "daalu", "s3cret")
    assert (found.email_domain, found.name) == ("acme.test", "Acme")
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"client_id": "x", "client_secret_file": "secret"}, "issuer is missing"),
        (GOOD | {"issuer": "http://accounts.example"}, "plain http is for loopback"),
        (GOOD | {"issuer": "accounts.example"}, "must be https"),
        (GOOD | {"client_secret": "x"}, "must not stand in this file"),
        (GOOD | {"client_secret_file": "absent"}, "cannot be read"),
        (GOOD | {"email_domain": "@acme.test"}, "email_domain must be a domain"),
        (GOOD | {"email_domain": "Acme.test"}, "small letters"),
        (GOOD | {"colour": "red"}, "'colour' is no field here"),
    ],
)
def test_a_file_with_a_fault_is_refused_by_name(tmp_path: Path, values: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidSetting, match=says) as refused:
        load_oidc(_file(tmp_path, values))
    assert "oidc.toml" in str(refused.value)


def test_a_secret_that_others_may_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="chmod 600"):
        load_oidc(_file(tmp_path, GOOD, mode=0o644))


def test_what_is_no_toml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "oidc.toml"
    path.write_bytes(b"\xff")
    with pytest.raises(InvalidSetting, match="not valid TOML"):
        load_oidc(path)
