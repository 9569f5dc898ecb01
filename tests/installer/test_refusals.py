"""What must not be installed is not, and the host is as it was: file by file."""

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.enrolment import Host, claim, parse_invite
from agent.identity import State
from installer.release import new_key, sign, write_manifest
from tests.installer.conftest import Machines, Site
from tests.support.debian import DebianMachine
from tests.support.rogue import RogueServer

pytestmark = pytest.mark.debian


@pytest.fixture(scope="module")
def host(machines: Machines) -> DebianMachine:
    return machines.new()


@pytest.fixture
def untouched(host: DebianMachine) -> Iterator[DebianMachine]:
    """The machine, which must be as it was when the test is over."""
    before = host.files()
    yield host
    assert host.files() == before


def _refused(host: DebianMachine, line: str, words: str) -> str:
    result = host.shell(line, check=False)
    assert result.returncode != 0, result.stdout
    assert words in result.stdout
    return result.stdout


def _wheel(site: Site) -> str:
    return next(path.name for path in site.release.glob("daalu_ai_factory-*.whl"))


@pytest.mark.parametrize("change", ["altered", "cut"])
def test_a_script_that_is_not_the_one_of_the_line_does_not_run(
    site: Site, rogue: RogueServer, untouched: DebianMachine, change: str
) -> None:
    evil = b"#!/bin/sh\ntouch /root/was-here\n" + (site.release / "install.sh").read_bytes()
    rogue.serve_directory(site.release, {"install.sh": evil} if change == "altered" else None)
    rogue.cut = {"install.sh"} if change == "cut" else set()
    said = _refused(untouched, site.line_to(rogue.url), "nothing was run")
    assert "checking this host" not in said


def test_the_line_does_not_speak_to_a_server_with_another_key(
    site: Site, rogue: RogueServer, untouched: DebianMachine
) -> None:
    rogue.serve_directory(site.release)
    line = site.line_to(rogue.url).replace("sha256//", "sha256//AAAA", 1)
    line = line.replace(line.split("sha256//")[1].split(" ")[0], "A" * 43 + "=")
    _refused(untouched, line, "curl: (90)")


def test_a_release_with_an_altered_manifest_is_refused(
    site: Site, rogue: RogueServer, untouched: DebianMachine
) -> None:
    manifest = (site.release / "manifest").read_bytes()
    rogue.serve_directory(site.release, {"manifest": manifest.replace(b"version 0.1.0", b"version 0.1.9")})
    _refused(untouched, site.line_to(rogue.url), "is not signed with the key")


def test_a_release_that_somebody_else_signed_is_refused(
    site: Site, rogue: RogueServer, untouched: DebianMachine, tmp_path: Path
) -> None:
    """Of a control plane that was broken into: all its own, and only the line is still the operator's."""
    theirs = tmp_path / "release"
    theirs.mkdir()
    for path in site.release.iterdir():
        (theirs / path.name).write_bytes(path.read_bytes())
    (theirs / "setup.sh").write_text("touch /root/was-here\n")
    new_key(tmp_path / "key")
    write_manifest(theirs, "0.1.0", int(time.time()))
    sign(theirs, tmp_path / "key")
    rogue.serve_directory(theirs)
    said = _refused(untouched, site.line_to(rogue.url), "is not signed with the key")
    assert "installing openssl" in said, "it came and went"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("altered", "not what the manifest names"),
        ("cut", "did not arrive whole"),
        ("long", "did not arrive whole"),
    ],
)
def test_a_wheel_that_is_not_as_the_manifest_says_is_refused(
    site: Site, rogue: RogueServer, untouched: DebianMachine, change: str, words: str
) -> None:
    name = _wheel(site)
    wheel = (site.release / name).read_bytes()
    changed = {"altered": wheel[:-1] + bytes([wheel[-1] ^ 1]), "long": wheel + b"x"}.get(change, wheel)
    rogue.serve_directory(site.release, {name: changed})
    rogue.cut = {name} if change == "cut" else set()
    _refused(untouched, site.line_to(rogue.url), words)


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"daalu-release 2\nversion 1\nreleased 1\n",
        b"daalu-release 1\nversion $(touch /root/was-here)\nreleased 1\n",
        b"daalu-release 1\nversion 1\nreleased 1\n" + b"0" * 64 + b" 1 ../../root/was-here\n",
        b"daalu-release 1\nversion 1\nreleased 1\n" + b"0" * 64 + b" 1 -o\n",
        b"daalu-release 1\nversion 1\nreleased 1\nzz 1 file\n",
    ],
)
def test_a_manifest_of_another_form_is_refused_before_anything_is_made_of_it(
    site: Site, rogue: RogueServer, untouched: DebianMachine, manifest: bytes
) -> None:
    rogue.serve_directory(site.release, {"manifest": manifest})
    _refused(untouched, site.line_to(rogue.url), "is damaged")


def test_an_expired_token_is_refused(site: Site, untouched: DebianMachine) -> None:
    line = site.line()
    with sqlite3.connect(site.control.data / "daalu.db", timeout=10) as database:
        database.execute("UPDATE invite SET expires_unix_ms = created_unix_ms WHERE claimed_unix_ms IS NULL")
    database.close()
    said = _refused(untouched, line, "the invite has expired")
    assert "taking back what was done" in said


def test_a_used_token_is_refused(site: Site, untouched: DebianMachine, tmp_path: Path) -> None:
    line = site.line()
    invite = parse_invite("daalu-invite-" + line.split("daalu-invite-")[1].split(" ")[0])
    with untouched.host.entered(), State.locked(tmp_path / "elsewhere") as state:
        claim(invite, Host("first", "0.1.0", 7443, 7400, False), state, timeout_s=20, report=print)
    _refused(untouched, line, "the invite was used already")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--frobnicate", "there is no option"),
        ("--name", "wants a value"),
        ("--models relative", "want absolute paths"),
        ("--models '/x\"; rm -rf /'", "may have letters"),
        ("--models /home/me", "sees no /home"),
        ("--engine conda", "none or pip"),
        ("--disk-gib many", "whole numbers"),
        ("another-invite", "one too many"),
    ],
)
def test_wrong_usage_is_one_line(site: Site, untouched: DebianMachine, options: str, words: str) -> None:
    line = site.line_to(site.control.url, options)
    said = _refused(untouched, line, words)
    assert said.count("\n") == 1
