"""Files that appear whole or not at all, and secrets that only their owner can read."""

import os
import tempfile
from pathlib import Path

SECRET = 0o600
PUBLIC = 0o644


def write_file(path: Path, content: bytes, mode: int) -> None:
    """Puts `content` at `path`, durable when this returns; what was there is replaced in one step."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    flush_directory(path.parent)


def flush_directory(directory: Path) -> None:
    """What was named, renamed or removed in it is durable when this returns."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
