"""Files that are made once and never replaced, for their owner's eyes only."""

import os
from pathlib import Path


def make_once(path: Path, content: bytes) -> bool:
    """Writes `content` to `path` unless it is there; whether it was written.

    The file appears whole or not at all, also when the power goes.
    """
    if path.exists():
        return False
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # A link and not a rename: where another process was faster, its file stays.
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True
