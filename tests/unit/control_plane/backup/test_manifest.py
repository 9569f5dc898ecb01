"""What a backup says of itself, and what is not believed."""

import json
from typing import Any

import pytest

from control_plane.backup.manifest import MODES, OPTIONAL, Entry, Manifest, NotAManifest, decode

WHOLE = Manifest(
    version="0.1.0",
    made_unix_ms=1_794_300_000_000,
    schema="0008",
    public_url="https://control.example:8443",
    entries=tuple(Entry(name, 7, "a" * 64) for name in MODES),
    elsewhere={"catalogue": "/etc/daalu/catalogue"},
)


def _changed(**fields: Any) -> bytes:
    return json.dumps(json.loads(WHOLE.encode()) | fields).encode()


def _entries(**changes: Any) -> list[dict[str, Any]]:
    first, *others = json.loads(WHOLE.encode())["entries"]
    return [first | changes, *others]


def test_what_was_written_is_read() -> None:
    assert decode(WHOLE.encode()) == WHOLE


def test_what_need_not_be_there_may_lack() -> None:
    needed = [entry for entry in json.loads(WHOLE.encode())["entries"] if entry["name"] not in OPTIONAL]
    assert {entry.name for entry in decode(_changed(entries=needed)).entries} == MODES.keys() - OPTIONAL


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "manifest is damaged"),
        (b"[]", "manifest is damaged"),
        (_changed(format=2), "restore it with the version of Daalu that made it"),
        (_changed(entries=_entries(name="../../etc/passwd")), "which is no part of a backup"),
        (_changed(entries=_entries(name="authority/root.key")), "names a file twice"),
        (_changed(entries=_entries(sha256="a" * 63)), "manifest is damaged"),
        (_changed(entries=_entries(size_bytes=-1)), "manifest is damaged"),
        (_changed(entries=_entries()[1:]), "it lacks daalu.db"),
        (_changed(entries=[*_entries()[:-1], _entries()[-1] | {"size_bytes": 2**40}]), "too large"),
        (_changed(made_unix_ms="soon"), "manifest is damaged"),
    ],
)
def test_a_manifest_that_is_none_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(NotAManifest, match=words):
        decode(content)


def test_the_settings_are_put_back_last_and_secrets_are_their_owners() -> None:
    assert list(MODES)[-1] == "config.toml"
    assert {name for name, mode in MODES.items() if mode != 0o600} == {
        "authority/root.pem",
        "authority/previous.pem",
        "tls/server.pem",
    }
