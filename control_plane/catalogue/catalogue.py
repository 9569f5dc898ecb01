"""All entries that this control plane knows, read once at start."""

from collections.abc import Iterable, Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Self

from control_plane.catalogue.entry import Entry, InvalidEntry, parse_entry
from control_plane.catalogue.files import json_files


class Catalogue:
    """Entries by model id. Iterating yields them in the order of their ids."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        """Raises InvalidEntry where two entries have one id."""
        found: dict[str, Entry] = {}
        for entry in entries:
            other = found.setdefault(entry.model.model_id, entry)
            if other is not entry:
                reason = f"{entry.model.model_id!r} is also in {other.file}: remove or rename one"
                raise InvalidEntry(entry.file, "modelId", reason)
        self._entries = {model_id: found[model_id] for model_id in sorted(found)}

    @classmethod
    def load(cls, directory: Path | None = None) -> Self:
        """What ships with the product, and the `*.json` of `directory` beside it.

        Raises InvalidEntry for a file that cannot be used, and for a directory that is not there.
        """
        entries = list(_read(resources.files("daalu_wire.v1") / "models"))
        if directory is not None:
            if not directory.is_dir():
                raise InvalidEntry(
                    str(directory), "directory", "is not there: make it, or take it out of the settings"
                )
            entries += _read(directory)
        return cls(entries)

    def get(self, model_id: str) -> Entry | None:
        return self._entries.get(model_id)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)


def _read(directory: Traversable) -> Iterator[Entry]:
    for file in json_files(directory):
        yield parse_entry(file.text, file=file.path, expected_id=file.stem)
