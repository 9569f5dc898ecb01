"""All card classes that this control plane knows, read once at start."""

from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import Self

from control_plane.catalogue.card_class import CardClass, Description, parse_description
from control_plane.catalogue.entry import InvalidEntry
from control_plane.catalogue.files import json_files
from control_plane.catalogue.recognise import recognise

# In the operator's catalogue directory, beside the models, which agents read too.
DIRECTORY = "card-classes"


class CardClasses:
    """Classes by id. Iterating yields them in the order of their ids."""

    def __init__(self, descriptions: Iterable[Description] = ()) -> None:
        """Raises InvalidEntry where two have one id, or one and the same card could be either."""
        found: dict[str, Description] = {}
        for each in descriptions:
            other = found.setdefault(each.card_class.id, each)
            if other is not each:
                raise InvalidEntry(each.file, "id", f"is also in {other.file}: remove or rename one")
        self._descriptions = [found[class_id] for class_id in sorted(found)]
        self._check_apart()

    @classmethod
    def load(cls, directory: Path | None = None) -> Self:
        """What ships with the product, and `card-classes/*.json` of the operator's catalogue directory.

        Raises InvalidEntry for a file that cannot be used.
        """
        found = list(json_files(resources.files("control_plane.catalogue") / "card_classes"))
        if directory is not None and (directory / DIRECTORY).is_dir():
            found += json_files(directory / DIRECTORY)
        return cls(parse_description(file.text, file=file.path, expected_id=file.stem) for file in found)

    def recognise(
        self, name: str | None, memory_bytes: int | None, compute_capability: str | None
    ) -> CardClass | None:
        """See `recognise.recognise`."""
        return recognise(self._descriptions, name, memory_bytes, compute_capability)

    def __iter__(self) -> Iterator[Description]:
        return iter(self._descriptions)

    def _check_apart(self) -> None:
        named: dict[str, list[Description]] = {}
        for each in self._descriptions:
            for name in {" ".join(name.casefold().split()) for name in each.nvml_names}:
                for other in named.setdefault(name, []):
                    if (
                        each.memory_mib_least <= other.memory_mib_most
                        and other.memory_mib_least <= each.memory_mib_most
                    ):
                        reason = f"{name!r} with such memory is already {other.card_class.id} ({other.file})"
                        raise InvalidEntry(each.file, "nvmlNames", reason)
                named[name].append(each)
