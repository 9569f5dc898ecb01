"""Control planes that an operator knows by name, kept in one private file of theirs."""

import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import typer

from control_plane.cli.failure import Failure
from control_plane.secret_files import SECRET, write_file

MOST_CONTEXTS = 1_000
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?\Z")


@dataclass(frozen=True, slots=True)
class Context:
    """How one control plane is reached: at an address, or by its data directory on this machine."""

    url: str | None = None
    # None: the environment's, or the data directory's.
    token: str | None = field(default=None, repr=False)
    # Trust this one and no other; None: the system's authorities.
    certificate_pem: str | None = None
    data: str | None = None


@dataclass(frozen=True, slots=True)
class Contexts:
    """`current` is in force where a command names no other; None: what the command finds by itself."""

    by_name: Mapping[str, Context] = field(default_factory=dict)
    current: str | None = None

    def find(self, name: str) -> Context:
        """Raises Failure."""
        try:
            return self.by_name[name]
        except KeyError:
            raise Failure(f"there is no context {name!r}: see `daalu contexts list`") from None


def contexts_file() -> Path:
    """Under the user's configuration directory: XDG_CONFIG_HOME, or ~/.config."""
    return Path(typer.get_app_dir("daalu")) / "contexts.json"


def check_name(name: str) -> None:
    """Raises Failure."""
    if not _NAME.match(name):
        raise Failure(f"a context's name has 1 to 64 letters, digits and . _ -, not {name!r}")


def load_contexts(path: Path) -> Contexts:
    """Raises Failure, also for a file that others than its owner may read: there are tokens in it."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise Failure(f"{path} holds tokens and others may read it: chmod 600 {path}")
            written = json.loads(file.read())
        by_name = {name: Context(**each) for name, each in written["contexts"].items()}
        return Contexts(by_name, written["current"])
    except FileNotFoundError:
        return Contexts()
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Failure(f"{path} is not what `daalu contexts` writes: mend or remove it") from error


def save_contexts(path: Path, contexts: Contexts) -> None:
    """In one step, readable by its owner only. Raises Failure."""
    if len(contexts.by_name) > MOST_CONTEXTS:
        raise Failure(f"there are {MOST_CONTEXTS} contexts already: remove one")
    written: dict[str, Any] = {
        "current": contexts.current,
        "contexts": {name: asdict(each) for name, each in sorted(contexts.by_name.items())},
    }
    try:
        write_file(path, (json.dumps(written, indent=2) + "\n").encode(), SECRET)
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}") from error
