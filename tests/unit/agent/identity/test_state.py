"""The state directory: nothing half-written, nothing readable by others, never a silent new identity."""

import base64
import datetime as dt
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509

from agent.identity import State, StateError, WireguardKey, write_atomically
from tests.support.agent_state import Authority, enrolled, identity, tunnel_settings


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_keys_are_made_once_for_their_owner_only(tmp_path: Path) -> None:
    os.umask(0)
    try:
        with State.locked(tmp_path / "state") as state:
            first = state.make_keys()
            second = state.make_keys()
    finally:
        os.umask(0o022)
    assert first[0] == second[0]
    assert first[1].pem == second[1].pem
    assert _mode(tmp_path / "state") == 0o700
    assert {path.name: _mode(path) for path in (tmp_path / "state").iterdir()} == {
        "lock": 0o600,
        "tls.key": 0o600,
        "wireguard.key": 0o600,
    }


def test_keys_do_not_show_in_a_representation(tmp_path: Path) -> None:
    with State.locked(tmp_path / "state") as state:
        wireguard, tls = state.make_keys()
    assert wireguard.private not in repr(wireguard)
    assert repr(tls) == "TlsKey()"


def test_what_was_enrolled_is_read_back(tmp_path: Path) -> None:
    state = enrolled(tmp_path / "state", tunnel_settings(hub_endpoint="[2001:db8::1]:51820"))
    found = state.identity()
    assert found is not None
    assert found.tunnel is not None
    assert found.tunnel.hub_endpoint == "[2001:db8::1]:51820"
    assert (found.address, found.direct) == ("fd77:1:2:3::2", False)


@pytest.mark.parametrize(
    "name", ["identity.json", "wireguard.key", "tls.key", "certificate.pem", "roots.pem"]
)
@pytest.mark.parametrize("damage", ["empty", "cut", "garbage", "open", "symlink", "huge"])
def test_a_damaged_file_is_an_error_that_names_it_and_the_way_out(
    tmp_path: Path, name: str, damage: str
) -> None:
    state = enrolled(tmp_path / "state", tunnel_settings())
    path = state.directory / name
    before = path.read_bytes()
    match damage:
        case "empty":
            path.write_bytes(b"")
        case "cut":
            path.write_bytes(before[: len(before) // 2])
        case "garbage":
            path.write_bytes(b"\x00\xff" * 40)
        case "open":
            path.chmod(0o644)
        case "symlink":
            path.rename(tmp_path / "elsewhere")
            path.symlink_to(tmp_path / "elsewhere")
        case "huge":
            path.write_bytes(before + b" " * 300_000)
    damaged = path.read_bytes()
    with pytest.raises(StateError) as caught:
        _read_all(state)
    assert str(path) in str(caught.value)
    assert any(way in str(caught.value) for way in ("enrol again", "new invite"))
    assert path.read_bytes() == damaged


@pytest.mark.parametrize("name", ["wireguard.key", "tls.key", "certificate.pem", "roots.pem"])
def test_a_missing_file_of_an_enrolled_host_is_never_made_anew(tmp_path: Path, name: str) -> None:
    state = enrolled(tmp_path / "state", tunnel_settings())
    (state.directory / name).unlink()
    with pytest.raises(StateError, match="missing"):
        _read_all(state)
    assert not (state.directory / name).exists()


def _read_all(state: State) -> None:
    state.identity()
    state.make_keys()
    state.credentials(dt.datetime.now(dt.UTC))


def test_a_directory_that_others_may_open_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    directory.mkdir(mode=0o755)
    with pytest.raises(StateError, match="chmod 700"):
        State.locked(directory)


def test_a_second_daemon_is_kept_out_and_told_by_whom(tmp_path: Path) -> None:
    with State.locked(tmp_path / "state"), pytest.raises(StateError, match=f"process {os.getpid()}"):
        State.locked(tmp_path / "state")
    State.locked(tmp_path / "state").close()


def test_a_killed_daemons_lock_is_free_and_its_drafts_are_removed(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from agent.identity import State; "
        "s = State.locked(Path(sys.argv[1])); (s.directory / '.x.0a0b.unfinished').write_text('half'); "
        "os.kill(os.getpid(), 9)"
    )
    result = subprocess.run([sys.executable, "-c", program, str(tmp_path / "state")], timeout=60)
    assert result.returncode == -9
    assert (tmp_path / "state" / ".x.0a0b.unfinished").exists()
    with State.locked(tmp_path / "state") as state:
        assert [path.name for path in state.directory.iterdir()] == ["lock"]


def test_a_failed_write_leaves_the_old_content_and_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_expired_certificate_gives_way_to_a_self_signed_one_with_the_same_key(tmp_path: Path) -> None:
    state = enrolled(tmp_path / "state", tunnel_settings())
    now = dt.datetime.now(dt.UTC)
    fresh = state.credentials(now)
    later = state.credentials(now + dt.timedelta(days=8))
    assert (fresh.self_signed, later.self_signed) == (False, True)
    before = x509.load_pem_x509_certificate(fresh.certificate_pem)
    after = x509.load_pem_x509_certificate(later.certificate_pem)
    assert after.public_key() == before.public_key()
    after.verify_directly_issued_by(after)
    names = after.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["agt-0123.agent.daalu.internal"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["fd77:1:2:3::2"]


def test_a_renewed_certificate_is_installed_only_if_it_is_this_hosts_and_the_authoritys(
    tmp_path: Path,
) -> None:
    state = enrolled(tmp_path / "state", tunnel_settings())
    key = state.tls_key()
    assert key is not None
    authority, other = Authority.create(), Authority.create()
    before = (state.directory / "certificate.pem").read_bytes()
    with pytest.raises(ValueError, match="another key"):
        state.install_certificate(authority.sign(other.key.public_key()), [authority.root_pem])
    with pytest.raises(ValueError, match="none of the authority's roots"):
        state.install_certificate(authority.sign(key.key.public_key()), [other.root_pem])
    with pytest.raises(ValueError, match=r"."):
        state.install_certificate("no certificate", [authority.root_pem])
    assert (state.directory / "certificate.pem").read_bytes() == before
    renewed = authority.sign_request(key.certificate_request_pem())
    expires = state.install_certificate(renewed, [other.root_pem, authority.root_pem])
    credentials = state.credentials(dt.datetime.now(dt.UTC))
    assert credentials.certificate_pem.decode() == renewed
    assert credentials.expires == expires
    assert len(x509.load_pem_x509_certificates(credentials.roots_pem)) == 2


def test_public_keys_are_what_wg_makes_of_the_private_ones() -> None:
    key = WireguardKey.generate()
    assert WireguardKey.parse(key.private) == key
    # RFC 7748, section 6.1: Alice.
    alice = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    public = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    assert WireguardKey.parse(base64.b64encode(alice).decode()).public == base64.b64encode(public).decode()
    with pytest.raises(ValueError, match="32 bytes"):
        WireguardKey.parse("c2hvcnQ=")


def test_direct_mode_has_no_tunnel_and_stays_on_loopback(tmp_path: Path) -> None:
    state = enrolled(tmp_path / "state", None, identity(None))
    found = state.identity()
    assert found is not None
    assert (found.direct, found.address, found.hub_address) == (True, "127.0.0.1", "127.0.0.1")
