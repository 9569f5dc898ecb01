"""The JSON files of one directory, each bounded in size, as text."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources.abc import Traversable

from control_plane.catalogue.entry import InvalidEntry

# An entry is about 500 bytes; a file beyond this is something else.
MAX_ENTRY_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class JsonFile:
    path: str
    # The name without `.json`.
    stem: str
    text: str


def json_files(directory: Traversable) -> Iterator[JsonFile]:
    """In the order of their names. Raises InvalidEntry for one that cannot be read as text."""
    for file in sorted(directory.iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".json") or not file.is_file():
            continue
        try:
            with file.open("rb") as opened:
                content = opened.read(MAX_ENTRY_BYTES + 1)
        except OSError as error:
            raise InvalidEntry(str(file), "file", f"cannot be read: {error.strerror}") from error
        if len(content) > MAX_ENTRY_BYTES:
            raise InvalidEntry(str(file), "file", f"is larger than {MAX_ENTRY_BYTES} bytes")
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            raise InvalidEntry(str(file), "file", "is not UTF-8") from error
        yield JsonFile(str(file), file.name.removesuffix(".json"), text)
