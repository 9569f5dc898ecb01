from dataclasses import replace
from pathlib import Path

import pytest

from control_plane.config import (
    Address,
    InvalidSetting,
    Settings,
    checked,
    load_settings,
    public_host,
    settings_toml,
    sqlite_url,
)


def _settings(data: Path) -> Settings:
    return Settings(
        data=data,
        database_url=sqlite_url(data),
        public_url="https://control.example:8443",
        listen=Address("0.0.0.0", 8443),
        listen_plain=Address("::1", 8080),
        hub_endpoint="control.example:51820",
        hub_port=51820,
        hub_interface="daalu-hub",
        allow_direct=True,
        catalogue=Path("/srv/models"),
        vendors=Path("/srv/vendors.toml"),
    )


def test_what_was_written_is_what_is_read(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    (tmp_path / "config.toml").write_text(settings_toml(settings))
    assert load_settings(tmp_path) == settings


def test_a_database_elsewhere_and_no_plain_listener_are_kept(tmp_path: Path) -> None:
    settings = replace(_settings(tmp_path), database_url="postgresql+psycopg://u:p%22@h/d", listen_plain=None)
    (tmp_path / "config.toml").write_text(settings_toml(settings))
    assert load_settings(tmp_path) == settings


def test_flags_replace_what_is_written_and_none_turns_the_plain_listener_off(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(settings_toml(_settings(tmp_path)))
    settings = load_settings(tmp_path, listen_plain=None, listen=Address("127.0.0.1", 1))
    assert (settings.listen_plain, settings.listen) == (None, Address("127.0.0.1", 1))


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "::", "example.org"])
def test_plain_http_off_loopback_is_refused_with_the_reason(tmp_path: Path, host: str) -> None:
    with pytest.raises(InvalidSetting, match="plain HTTP is served on loopback only"):
        checked(replace(_settings(tmp_path), listen_plain=Address(host, 8080)))


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:443", ("::1", 443)), ("localhost:1", ("localhost", 1))],
)
def test_an_address_reads_as_it_prints(text: str, address: tuple[str, int]) -> None:
    assert Address.parse(text) == address
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize("text", ["", "host", ":80", "::1:80", "[::1]", "h:0", "h:65536", "h:x", "[h]:1x"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidSetting):
        Address.parse(text)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("public_url = 3", "public_url must be a str"),
        ("unknown = 1", "there is no setting 'unknown'"),
        ("allow_direct = 1", "allow_direct must be a bool"),
        ("x =", "is not valid TOML"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(tmp_path: Path, line: str, message: str) -> None:
    name = line.split(" ", 1)[0]
    kept = [row for row in settings_toml(_settings(tmp_path)).splitlines() if not row.startswith(name)]
    (tmp_path / "config.toml").write_text("\n".join([*kept, line]))
    with pytest.raises(InvalidSetting, match=rf"config\.toml.*{message}"):
        load_settings(tmp_path)


def test_a_directory_that_was_not_initialised_says_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="run `daalu init"):
        load_settings(tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "http://x:1", "https://", "https://x/path", "x", "https://x:0", "https://x:65536", "https://x:y",
        "https://a b", "https://u:p@x", "https://x?q", "https://x#f", "https://[::1", "https://ünï.example",
    ],
)  # fmt: skip
def test_a_public_url_that_clients_could_not_use_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidSetting, match="public_url"):
        checked(replace(_settings(tmp_path), public_url=url))


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://X.example:8443/", "x.example"),
        ("https://[fd00::1]:1", "fd00::1"),
        ("https://10.0.0.1", "10.0.0.1"),
    ],
)
def test_a_public_url_names_its_host(tmp_path: Path, url: str, host: str) -> None:
    checked(replace(_settings(tmp_path), public_url=url))
    assert public_host(url) == host


def test_two_listeners_on_one_port_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="a port each"):
        checked(replace(_settings(tmp_path), listen=Address("::1", 8080)))


@pytest.mark.parametrize("name", ["", "a" * 16, "a b", "a/b"])
def test_an_interface_name_that_linux_would_refuse_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidSetting, match="hub_interface"):
        checked(replace(_settings(tmp_path), hub_interface=name))


def test_how_long_calls_are_waited_for_is_kept_and_has_a_limit(tmp_path: Path) -> None:
    settings = replace(_settings(tmp_path), drain_limit_s=60)
    (tmp_path / "config.toml").write_text(settings_toml(settings))
    assert load_settings(tmp_path).drain_limit_s == 60
    with pytest.raises(InvalidSetting, match="drain_limit_s -1: 0 to 86400 seconds"):
        checked(replace(settings, drain_limit_s=-1))


def test_what_telemetry_may_take_is_kept_and_too_little_is_refused(tmp_path: Path) -> None:
    settings = replace(_settings(tmp_path), telemetry_mib=512)
    (tmp_path / "config.toml").write_text(settings_toml(settings))
    assert load_settings(tmp_path).telemetry_mib == 512
    with pytest.raises(InvalidSetting, match="telemetry_mib 1: 16 MiB or more"):
        checked(replace(settings, telemetry_mib=1))
    (tmp_path / "config.toml").write_text(settings_toml(settings).replace("512", '"a lot"'))
    with pytest.raises(InvalidSetting, match="telemetry_mib must be a int"):
        load_settings(tmp_path)
