"""What clients may call a model by: its served name, its catalogue id, or a name that the operator gave it.

Aliases stand in `aliases.toml` of the operator's catalogue directory, a line each: "gpt-4o-mini" = "qwen3-8b"
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from daalu_wire.v1 import catalogue_pb2

from control_plane.catalogue.catalogue import Catalogue
from control_plane.catalogue.entry import InvalidEntry

# Asks for whatever suits the call best of what can be reached.
AUTO = "auto"
ALIASES_FILE = "aliases.toml"
MOST_ALIASES_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class ModelNames:
    """Served names by every other name, and which of them are for what."""

    served: Mapping[str, str] = field(default_factory=dict)
    coders: frozenset[str] = frozenset()
    embedders: frozenset[str] = frozenset()

    def served_name(self, model: str) -> str:
        """A name that is not known stands for itself: an engine may serve what this catalogue has not."""
        return self.served.get(model, model)


def load_names(catalogue: Catalogue, directory: Path | None = None) -> ModelNames:
    """Raises InvalidEntry for an aliases file that cannot be used."""
    models = [entry.model for entry in catalogue]
    names = {model.served_name for model in models}
    # What one model is served as may be another one's id: what is served goes first.
    served = {model.model_id: model.served_name for model in models if model.model_id not in names}
    aliases = _aliases(directory / ALIASES_FILE) if directory is not None else {}
    for alias, name in aliases.items():
        if name not in names:
            raise InvalidEntry(
                str(directory), ALIASES_FILE, f"{alias!r}: no model of the catalogue is served as {name!r}"
            )
        if alias in names or alias in served or alias == AUTO:
            raise InvalidEntry(str(directory), ALIASES_FILE, f"{alias!r} is the name of a model already")
    return ModelNames(
        served={**served, **aliases},
        coders=_of_kind(models, catalogue_pb2.MODEL_KIND_CODER),
        embedders=_of_kind(models, catalogue_pb2.MODEL_KIND_EMBEDDING),
    )


def _of_kind(models: list[catalogue_pb2.Model], kind: catalogue_pb2.ModelKind.ValueType) -> frozenset[str]:
    return frozenset(model.served_name for model in models if model.kind == kind)


def _aliases(path: Path) -> dict[str, str]:
    try:
        with path.open("rb") as opened:
            content = opened.read(MOST_ALIASES_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InvalidEntry(str(path), "file", f"cannot be read: {error.strerror}") from error
    if len(content) > MOST_ALIASES_BYTES:
        raise InvalidEntry(str(path), "file", f"is larger than {MOST_ALIASES_BYTES} bytes")
    try:
        found = tomllib.loads(content.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidEntry(str(path), "file", f"is not TOML: {error}") from error
    for alias, name in found.items():
        if not isinstance(name, str):
            raise InvalidEntry(str(path), alias, "must be a model's served name, in quotes")
    return found
