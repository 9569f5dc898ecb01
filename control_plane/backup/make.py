"""Makes a backup, beside whatever runs."""

import fcntl
import hashlib
import io
import os
import shutil
import sqlite3
import tarfile
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from sqlalchemy.engine import make_url

from control_plane.backup.conditions import BackupFailed
from control_plane.backup.manifest import (
    CONFIG,
    DATABASES,
    MANIFEST,
    MODES,
    MOST_FILE_BYTES,
    OPTIONAL,
    STORE,
    TELEMETRY,
    Entry,
    Manifest,
)
from control_plane.backup.snapshot import copy, frozen, schema_of
from control_plane.config import Settings, settings_toml, sqlite_url
from control_plane.secret_files import flush_directory

# What was done, from 0 to 1.
Progress = Callable[[float], None]


def make_backup(
    settings: Settings, file: Path, *, version: str, now_unix_ms: int, progress: Progress
) -> Manifest:
    """`file` appears whole, readable by its owner only, or not at all. Raises BackupFailed.

    Room for two copies of the databases is needed beside `file` while it is made.
    """
    if file.exists():
        raise BackupFailed(f"{file} is there already: a backup never replaces one, choose another name")
    if not file.absolute().parent.is_dir():
        raise BackupFailed(f"{file.absolute().parent} is not there: make it first")
    try:
        with _workplace(file.absolute()) as work:
            made, manifest = _assemble(settings, work, version, now_unix_ms, progress)
            # A link and not a rename: where another process was faster, its file stays.
            os.link(made, file)
        flush_directory(file.absolute().parent)
    except FileExistsError:
        raise BackupFailed(f"{file} was made meanwhile by somebody else, and was left as it is") from None
    except sqlite3.Error as error:
        raise BackupFailed(f"the database cannot be read: {error}") from error
    except OSError as error:
        raise BackupFailed(f"{error.filename or file}: {error.strerror}") from error
    return manifest


@contextmanager
def _workplace(file: Path) -> Iterator[Path]:
    """A directory beside `file`, emptied of what a killed run left. Raises BackupFailed."""
    work = file.with_name(f".{file.name}.partial")
    work.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(work, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupFailed(f"another backup to {file} is being made: wait for it") from None
        try:
            for left in work.iterdir():
                left.unlink()
            yield work
        finally:
            shutil.rmtree(work)
    finally:
        os.close(descriptor)


def _assemble(
    settings: Settings, work: Path, version: str, now_unix_ms: int, progress: Progress
) -> tuple[Path, Manifest]:
    databases, schema = _copy_databases(settings, work, progress)
    small = _small_files(settings)
    entries = [
        _entry_of_file(name, databases[name])
        if name in databases
        else Entry(name, len(small[name]), hashlib.sha256(small[name]).hexdigest())
        for name in MODES
        if name in databases or name in small
    ]
    manifest = Manifest(
        version=version,
        made_unix_ms=now_unix_ms,
        schema=schema,
        public_url=settings.public_url,
        entries=tuple(entries),
        elsewhere=_elsewhere(settings),
    )
    made = work / "backup.tar"
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as output:
        with tarfile.open(fileobj=output, mode="w") as tar:
            _add(tar, MANIFEST, io.BytesIO(manifest.encode()), len(manifest.encode()))
            for entry in manifest.entries:
                if entry.name in databases:
                    with databases[entry.name].open("rb") as content:
                        _add(tar, entry.name, content, entry.size_bytes)
                    databases[entry.name].unlink()
                else:
                    _add(tar, entry.name, io.BytesIO(small[entry.name]), entry.size_bytes)
        output.flush()
        os.fsync(output.fileno())
    progress(1.0)
    return made, manifest


def _copy_databases(settings: Settings, work: Path, progress: Progress) -> tuple[dict[str, Path], str]:
    sources = {
        STORE: Path(make_url(settings.database_url).database or ""),
        TELEMETRY: settings.directory.telemetry,
    }
    if not sources[STORE].is_file():
        raise BackupFailed(f"{sources[STORE]} is not there: there is nothing to back up")
    sizes = {name: path.stat().st_size for name, path in sources.items() if path.is_file()}
    whole = sum(sizes.values())
    free = shutil.disk_usage(work).free
    if 2 * whole > free:
        raise BackupFailed(
            f"{2 * whole:,} bytes are needed in {work.parent} and {free:,} are free: make room, or put the"
            " backup on another disk"
        )
    copies = {name: work / name for name in sizes}
    with ExitStack() as stack:
        # The store last: whatever telemetry speaks of is in it.
        opened = {name: stack.enter_context(frozen(sources[name])) for name in sorted(sizes, reverse=True)}
        schema = schema_of(opened[STORE])
        before = 0
        for name, source in opened.items():

            def tell(done: int, total: int, before: int = before, size: int = sizes[name]) -> None:
                progress((before + size * done / max(total, 1)) / max(whole, 1))

            copy(source, copies[name], tell)
            before += sizes[name]
    return copies, schema


def _small_files(settings: Settings) -> dict[str, bytes]:
    """Settings and keys, by name."""
    found = {}
    for name in MODES.keys() - DATABASES:
        path = settings.data / name
        if name in OPTIONAL and not path.exists():
            continue
        with path.open("rb") as file:
            found[name] = file.read(MOST_FILE_BYTES + 1)
        if len(found[name]) > MOST_FILE_BYTES:
            raise BackupFailed(f"{path} is too large to be what its name says: look at it")
    usual = sqlite_url(settings.data)
    if tomllib.loads(found[CONFIG].decode()).get("database_url", usual) != usual:
        # The copy will lie in the data directory, wherever that will be.
        found[CONFIG] = settings_toml(replace(settings, database_url=usual)).encode()
    return found


def _elsewhere(settings: Settings) -> dict[str, str]:
    named = {
        "catalogue": settings.catalogue,
        "artifacts": settings.artifacts,
        "vendors": settings.vendors,
        "load_client": settings.load_client,
    }
    return {name: str(path) for name, path in named.items() if path is not None}


def _entry_of_file(name: str, path: Path) -> Entry:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Entry(name, path.stat().st_size, digest)


def _add(tar: tarfile.TarFile, name: str, content: io.BufferedReader | io.BytesIO, size_bytes: int) -> None:
    member = tarfile.TarInfo(name)
    member.size = size_bytes
    member.mode = 0o600
    tar.addfile(member, content)
