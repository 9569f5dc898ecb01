"""What is in a backup, as its first member says it. Pure."""

import json
import re
from dataclasses import asdict, dataclass
from typing import Any

FORMAT = 1
MANIFEST = "manifest.json"
STORE = "daalu.db"
TELEMETRY = "telemetry.db"
CONFIG = "config.toml"
# Far more than there are entries for.
MOST_MANIFEST_BYTES = 64 * 1024
# A setting, a key or a certificate; databases may be of any size.
MOST_FILE_BYTES = 4 * 1024**2
# Every file of a data directory that a backup may hold, in the order in which they are put back. The settings
# come last: they are what says that a directory is complete.
MODES = {
    STORE: 0o600,
    TELEMETRY: 0o600,
    "authority/root.key": 0o600,
    "authority/root.pem": 0o644,
    "authority/previous.pem": 0o644,
    "tls/server.key": 0o600,
    "tls/server.pem": 0o644,
    "hub/private.key": 0o600,
    "ticket-secret": 0o600,
    "operator-token": 0o600,
    "vendors.toml": 0o600,
    CONFIG: 0o600,
}
OPTIONAL = frozenset({TELEMETRY, "authority/previous.pem", "vendors.toml"})
DATABASES = frozenset({STORE, TELEMETRY})
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


class NotAManifest(ValueError):
    """The message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """`name`: relative to the data directory."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    # Of the program that made it.
    version: str
    made_unix_ms: int
    # The store's last migration.
    schema: str
    public_url: str
    entries: tuple[Entry, ...]
    # What the settings name and a backup does not hold: the setting, and where it lay.
    elsewhere: dict[str, str]

    @property
    def size_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.entries)

    def encode(self) -> bytes:
        return (json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n").encode()


def decode(content: bytes) -> Manifest:
    """Raises NotAManifest."""
    try:
        written = json.loads(content)
        _check_form(written["format"], written["version"])
        entries = tuple(_entry(each) for each in written["entries"])
        manifest = Manifest(
            version=str(written["version"]),
            made_unix_ms=int(written["made_unix_ms"]),
            schema=str(written["schema"]),
            public_url=str(written["public_url"]),
            entries=entries,
            elsewhere={str(name): str(path) for name, path in written["elsewhere"].items()},
        )
    except NotAManifest:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotAManifest(f"its manifest is damaged ({error})") from error
    names = [entry.name for entry in entries]
    if len(set(names)) != len(names):
        raise NotAManifest("its manifest names a file twice")
    missing = MODES.keys() - OPTIONAL - set(names)
    if missing:
        raise NotAManifest(f"it lacks {', '.join(sorted(missing))}")
    return manifest


def _check_form(form: object, version: object) -> None:
    if form != FORMAT:
        raise NotAManifest(
            f"its form is {form!r} and this version reads {FORMAT}: restore it with the version of Daalu that"
            f" made it ({version})"
        )


def _entry(written: Any) -> Entry:
    entry = Entry(str(written["name"]), int(written["size_bytes"]), str(written["sha256"]))
    if entry.name not in MODES:
        raise NotAManifest(f"it holds {entry.name!r}, which is no part of a backup")
    if entry.size_bytes < 0 or not _SHA256.match(entry.sha256):
        raise NotAManifest(f"its manifest is damaged (at {entry.name})")
    if entry.name not in DATABASES and entry.size_bytes > MOST_FILE_BYTES:
        raise NotAManifest(f"{entry.name} in it is too large to be one")
    return entry
