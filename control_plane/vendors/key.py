"""A vendor's key, from a file or from the environment, and never from anywhere else."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from control_plane.config import InvalidSetting

MOST_KEY_CHARACTERS = 4_096


def key_from_file(path: Path) -> str:
    """Raises InvalidSetting without a word of what the file holds."""
    try:
        # A named pipe must not hold up the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InvalidSetting(f"{path} is not a file")
            if status.st_mode & 0o077:
                mode = stat.S_IMODE(status.st_mode)
                raise InvalidSetting(f"{path} has mode {mode:04o}: others may use it; run chmod 600 {path}")
            raw = file.read(MOST_KEY_CHARACTERS * 2)
    except OSError as error:
        raise InvalidSetting(f"{path} cannot be read: {error.strerror}") from None
    try:
        return _checked(raw.decode("ascii"))
    except UnicodeDecodeError:
        raise InvalidSetting(f"{path} is no key: it is not ASCII text") from None
    except _NoKey as error:
        raise InvalidSetting(f"{path} {error}") from None


def key_from_environment(variable: str, environment: Mapping[str, str]) -> str:
    """Raises InvalidSetting."""
    if variable not in environment:
        raise InvalidSetting(f"the variable {variable} is not set in this process's environment")
    try:
        return _checked(environment[variable])
    except _NoKey as error:
        raise InvalidSetting(f"the variable {variable} {error}") from None


class _NoKey(ValueError):
    pass


def _checked(text: str) -> str:
    key = text.strip()
    if not key:
        raise _NoKey("is empty")
    if len(key) > MOST_KEY_CHARACTERS:
        raise _NoKey(f"is longer than {MOST_KEY_CHARACTERS} characters")
    if any(not "!" <= character <= "~" for character in key):
        raise _NoKey("has a space, a line break or another character inside that no key has")
    return key
