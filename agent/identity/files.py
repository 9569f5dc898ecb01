"""Files of the state directory: written whole or not at all, readable by their owner only."""

import os
import secrets
import stat
from pathlib import Path

# Larger than anything kept here (two authority roots are under 4 KiB).
SIZE_LIMIT_BYTES = 256 * 1024
_UNFINISHED = ".unfinished"


class StateError(Exception):
    """Something in the state directory cannot be trusted; the text names the file and the way out."""

    def __init__(self, path: Path, problem: str, way_out: str) -> None:
        super().__init__(f"{path} {problem}. {way_out}")
        self.path = path


def write_atomically(path: Path, data: bytes, mode: int = 0o600) -> None:
    """From now on `path` holds `data`, also after a power cut; until now, what it held. Raises OSError."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_UNFINISHED}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def remove_unfinished(directory: Path) -> None:
    """Removes drafts that a killed writer left. For the directory's only writer."""
    for draft in directory.glob(f".*{_UNFINISHED}"):
        draft.unlink(missing_ok=True)


def read_private(path: Path, way_out: str) -> bytes | None:
    """The file's content; None where there is no such file.

    StateError where others may read or have written it, where it is no plain file, empty or too large.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(path, f"cannot be read ({error.strerror})", way_out) from error
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise StateError(path, "is no plain file", way_out)
        check_private(path, facts)
        data = file.read(SIZE_LIMIT_BYTES + 1)
    if not data:
        raise StateError(path, "is empty", way_out)
    if len(data) > SIZE_LIMIT_BYTES:
        raise StateError(path, f"is larger than {SIZE_LIMIT_BYTES} bytes", way_out)
    return data


def check_private(path: Path, facts: os.stat_result) -> None:
    """StateError where anybody but this process's user may open it."""
    mode = stat.S_IMODE(facts.st_mode)
    if facts.st_uid != os.geteuid():
        raise StateError(
            path,
            f"belongs to user {facts.st_uid}, not to {os.geteuid()} who runs this",
            f"Run daalu-agent as that user, or `chown {os.geteuid()}` it if you know how it came there.",
        )
    if mode & 0o077:
        right = "700" if stat.S_ISDIR(facts.st_mode) else "600"
        raise StateError(
            path,
            f"is open to other users (mode {mode:04o})",
            f"If nobody else can have read it, `chmod {right}` it; otherwise have the agent revoked, "
            "remove the state directory and enrol again.",
        )
