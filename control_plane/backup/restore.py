"""Puts a backup into a data directory that holds nothing yet.

Everything is unpacked and checked beside what it will become, in a *staging* directory; then each file is
moved into place, the settings last. The mark READY in the staging directory says that the moves have begun:
from then on the same backup's restore goes on where it was killed, and until it has, nothing starts from the
directory.
"""

import fcntl
import hashlib
import os
import shutil
import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

from sqlalchemy.exc import SQLAlchemyError

from control_plane.backup.conditions import RestoreRefused
from control_plane.backup.manifest import (
    CONFIG,
    DATABASES,
    MANIFEST,
    MODES,
    MOST_MANIFEST_BYTES,
    STORE,
    Entry,
    Manifest,
    NotAManifest,
    decode,
)
from control_plane.backup.snapshot import check
from control_plane.config import DataDirectory, InvalidSetting, load_settings, sqlite_url
from control_plane.secret_files import SECRET, flush_directory, write_file
from control_plane.store import DatabaseIsNewer, Store

# What was done, from 0 to 1.
Progress = Callable[[float], None]
_CHUNK_BYTES = 1024**2
# What a store has that nobody has used: its schema, its network, and that a process looked at it.
_UNUSED_TABLES = frozenset({"alembic_version", "setting", "change", "process", "sqlite_sequence"})


def restore_backup(file: Path, data: Path, *, progress: Progress) -> Manifest:
    """The directory is complete when this returns. Raises RestoreRefused; nothing was changed then."""
    try:
        with file.open("rb") as opened, _reading(file, opened) as tar:
            content = _manifest_bytes(tar)
            manifest, mark = decode(content), hashlib.sha256(content).hexdigest()
            _check_place(DataDirectory(data))
            with _alone_in(data):
                if not _has_begun(DataDirectory(data).staging, mark):
                    _check_keys(manifest, data)
                    with _unused_store(data):
                        pass
                    _stage(tar, manifest, data, progress)
                    write_file(DataDirectory(data).staging / DataDirectory.READY, mark.encode(), SECRET)
                _move_into_place(manifest, data)
    except NotAManifest as error:
        raise RestoreRefused(f"{file} cannot be restored: {error}") from error
    except (tarfile.TarError, EOFError) as error:
        raise RestoreRefused(f"{file} is no backup, or is cut short: {error}") from error
    except sqlite3.Error as error:
        raise RestoreRefused(f"the database in {data} cannot be looked at: {error}") from error
    except OSError as error:
        raise RestoreRefused(f"{error.filename or file}: {error.strerror}") from error
    return manifest


@contextmanager
def _reading(file: Path, opened: BinaryIO) -> Iterator[tarfile.TarFile]:
    # Uncompressed only: no small file becomes a large one.
    with tarfile.open(name=file, fileobj=opened, mode="r:") as tar:
        yield tar


def _manifest_bytes(tar: tarfile.TarFile) -> bytes:
    member = tar.next()
    if member is None or member.name != MANIFEST or not member.isreg() or member.size > MOST_MANIFEST_BYTES:
        raise NotAManifest("it does not begin with a backup's manifest")
    content = tar.extractfile(member)
    assert content is not None  # noqa: S101 - it is a regular file
    return content.read()


def _check_place(directory: DataDirectory) -> None:
    if not directory.config.exists():
        return
    try:
        settings = load_settings(directory.root, half_restored=True)
    except InvalidSetting as error:
        raise RestoreRefused(str(error)) from error
    if settings.database_url != sqlite_url(directory.root):
        raise RestoreRefused(
            f"{directory.config} names another database than {directory.database}: restore into a directory"
            " of its own"
        )


@contextmanager
def _alone_in(data: Path) -> Iterator[None]:
    """Makes the directory where it is not there; it goes again where nothing comes of it."""
    is_new = not data.exists()
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise RestoreRefused(f"another restore into {data} is under way: wait for it") from None
    except BaseException:
        if is_new and not any(data.iterdir()):
            data.rmdir()
        raise
    finally:
        os.close(descriptor)


def _check_keys(manifest: Manifest, data: Path) -> None:
    """Beside a store that nobody used, keys are nobody's either; without a store, that cannot be known."""
    if DataDirectory(data).database.exists():
        return
    for entry in manifest.entries:
        place = data / entry.name
        if entry.name in DATABASES or entry.name == CONFIG or not place.exists():
            continue
        if hashlib.sha256(place.read_bytes()).hexdigest() != entry.sha256:
            raise RestoreRefused(
                f"{place} is there and differs from the backup's: restore into another directory, or move"
                " this one away"
            )


def _has_begun(staging: Path, mark: str) -> bool:
    try:
        begun = (staging / DataDirectory.READY).read_text()
    except FileNotFoundError:
        return False
    if begun != mark:
        raise RestoreRefused(
            f"the restore of another backup was broken off in {staging.parent}: run that one again first"
        )
    return True


@contextmanager
def _unused_store(data: Path) -> Iterator[None]:
    """Holds the store that is there, so that nothing can begin to use it. Raises RestoreRefused."""
    path = DataDirectory(data).database
    if not path.exists():
        yield
        return
    with closing(sqlite3.connect(path, isolation_level=None, timeout=1)) as connection:
        try:
            # Refused while any other process has the file open, however idle.
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise RestoreRefused(
                f"{path} is in use ({error}): stop `daalu serve` and `daalu hub` there first"
            ) from error
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            if table in _UNUSED_TABLES:
                continue
            if connection.execute(f'SELECT 1 FROM "{table}" LIMIT 1').fetchone():  # noqa: S608 - its own name
                raise RestoreRefused(
                    f"{path} is not empty (it has rows in {table}): nothing is ever overwritten, restore into"
                    " another directory, or move this one away"
                )
        # No log of the old file may lie beside the new one.
        connection.execute("PRAGMA journal_mode=DELETE")
        yield


def _stage(tar: tarfile.TarFile, manifest: Manifest, data: Path, progress: Progress) -> None:
    staging = DataDirectory(data).staging
    # Of a restore that was killed before its moves.
    shutil.rmtree(staging, ignore_errors=True)
    free = shutil.disk_usage(data).free
    if manifest.size_bytes > free:
        raise RestoreRefused(
            f"{manifest.size_bytes:,} bytes are needed in {data} and {free:,} are free: make room"
        )
    staging.mkdir(mode=0o700)
    try:
        _unpack(tar, manifest, staging, progress)
        _check_databases(manifest, staging)
        _migrate(staging)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def _unpack(tar: tarfile.TarFile, manifest: Manifest, staging: Path, progress: Progress) -> None:
    done = 0
    for entry in manifest.entries:
        member = tar.next()
        if member is None or member.name != entry.name or not member.isreg():
            raise NotAManifest(f"{entry.name} is not where its manifest says")
        content = tar.extractfile(member)
        assert content is not None  # noqa: S101 - it is a regular file
        path = staging / entry.name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        digest, size_bytes = hashlib.sha256(), 0
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODES[entry.name])
        with os.fdopen(descriptor, "wb") as output:
            while chunk := content.read(_CHUNK_BYTES):
                digest.update(chunk)
                output.write(chunk)
                size_bytes += len(chunk)
                progress((done + size_bytes) / max(manifest.size_bytes, 1))
            output.flush()
            os.fchmod(output.fileno(), MODES[entry.name])
            os.fsync(output.fileno())
        if Entry(entry.name, size_bytes, digest.hexdigest()) != entry:
            raise RestoreRefused(
                f"{entry.name} is not what it was when the backup was made (its checksum differs): use"
                " another backup, or copy this one again"
            )
        done += size_bytes


def _check_databases(manifest: Manifest, staging: Path) -> None:
    for name in sorted(DATABASES & {entry.name for entry in manifest.entries}):
        if (wrong := check(staging / name)) is not None:
            raise RestoreRefused(f"{name} in the backup is damaged: {wrong}")


def _migrate(staging: Path) -> None:
    """A newer schema than this version's is refused; an older one becomes this version's."""
    store = Store(f"sqlite:///{(staging / STORE).absolute()}")
    try:
        store.migrate()
    except DatabaseIsNewer as error:
        raise RestoreRefused(
            "a newer version of Daalu made this backup: install that version, and restore with it"
        ) from error
    except SQLAlchemyError as error:
        raise RestoreRefused(f"{STORE} in the backup cannot be used: {error}") from error
    finally:
        store.close()


def _replace_unused_store(staging: Path, data: Path) -> None:
    """Looks once more: while the backup was being unpacked somebody may have begun to use the store."""
    try:
        with _unused_store(data):
            (staging / STORE).replace(DataDirectory(data).database)
    except RestoreRefused:
        # Nothing was moved yet, so the directory is again whoever's it is.
        shutil.rmtree(staging)
        raise


def _move_into_place(manifest: Manifest, data: Path) -> None:
    """Again: goes on with what is not moved yet."""
    staging = DataDirectory(data).staging
    if (staging / STORE).exists():
        _replace_unused_store(staging, data)
    names = {entry.name for entry in manifest.entries}
    for name in (name for name in MODES if name in names and (staging / name).exists()):
        place = data / name
        place.parent.mkdir(mode=0o700, exist_ok=True)
        for log in ("-wal", "-shm") if name in DATABASES else ():
            place.with_name(place.name + log).unlink(missing_ok=True)
        (staging / name).replace(place)
    for directory in (data, *{(data / name).parent for name in names}):
        flush_directory(directory)
    for left in staging.iterdir():
        if left.is_dir():
            shutil.rmtree(left)
    # With the mark the restore has ended, whatever comes then.
    (staging / DataDirectory.READY).unlink()
    shutil.rmtree(staging)
