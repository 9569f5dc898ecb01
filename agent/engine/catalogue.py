"""The agent's own copy of the catalogue: what may run on this host, and the digests that prove it."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from daalu_wire.v1 import agent_pb2, catalogue_pb2
from google.protobuf import json_format

ENTRY_BYTES_MAX = 65_536

# What becomes an argument of the engine: no spaces, no leading dash; and no path where a name is meant.
_SERVED_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
_DIRECTORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_WORD = re.compile(r"[a-z0-9_.-]{0,64}")


class InvalidEntry(ValueError):
    """A catalogue file that cannot be used; the text names file and fault."""


class NotInCatalogue(Exception):
    """The model asked for is not in this host's catalogue, or is another one of the same name."""


class Catalogue:
    """Entries by model id, each with its digest."""

    def __init__(self, entries: Mapping[str, tuple[catalogue_pb2.Model, str]]) -> None:
        self._entries = dict(entries)

    @classmethod
    def load(cls, directory: Path | None = None) -> "Catalogue":
        """What ships with the product, and the `*.json` in `directory`. Raises InvalidEntry."""
        entries: dict[str, tuple[catalogue_pb2.Model, str]] = {}
        sources: list[Traversable] = [resources.files("daalu_wire.v1") / "models"]
        if directory is not None:
            sources.append(directory)
        for file in (file for source in sources for file in _files(source)):
            model, digest = _read(file)
            if model.model_id in entries:
                raise InvalidEntry(f"{file}: {model.model_id!r} is in the catalogue already: rename one")
            entries[model.model_id] = model, digest
        return cls(entries)

    def references(self) -> list[agent_pb2.CatalogueReference]:
        return [
            agent_pb2.CatalogueReference(model_id=model_id, digest=digest)
            for model_id, (_, digest) in sorted(self._entries.items())
        ]

    def find(self, reference: agent_pb2.CatalogueReference) -> catalogue_pb2.Model:
        """The entry with this id and this very content. Raises NotInCatalogue, in words."""
        if reference.model_id not in self._entries:
            raise NotInCatalogue(f"this host's catalogue has no model {reference.model_id!r}")
        model, digest = self._entries[reference.model_id]
        if digest != reference.digest:
            raise NotInCatalogue(
                f"this host's entry for {reference.model_id!r} has digest {digest[:12]}, the one asked for "
                f"{reference.digest[:12]}: bring both catalogues to the same version"
            )
        return model


def _files(directory: Traversable) -> Iterator[Traversable]:
    if not directory.is_dir():
        raise InvalidEntry(f"{directory}: is no directory: make it, or take it out of the settings")
    for file in sorted(directory.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".json") and file.is_file():
            yield file


def _read(file: Traversable) -> tuple[catalogue_pb2.Model, str]:
    try:
        with file.open("rb") as opened:
            content = opened.read(ENTRY_BYTES_MAX + 1)
        if len(content) > ENTRY_BYTES_MAX:
            raise InvalidEntry(f"{file}: is larger than {ENTRY_BYTES_MAX} bytes")
        value = json.loads(content)
        model = json_format.ParseDict(value, catalogue_pb2.Model())
    except (OSError, RecursionError) as error:
        raise InvalidEntry(f"{file}: cannot be read ({error})") from error
    except (ValueError, json_format.ParseError) as error:
        raise InvalidEntry(f"{file}: is no catalogue entry ({error})") from error
    if fault := _fault(model, file.name.removesuffix(".json")):
        raise InvalidEntry(f"{file}: {fault}")
    return model, digest_of(value)


def digest_of(value: Any) -> str:
    """Lower-case hexadecimal SHA-256 of the JSON value in canonical form: keys sorted, no white space."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _fault(model: catalogue_pb2.Model, name: str) -> str | None:
    source = model.source
    if source.WhichOneof("source") == "directory":
        source_good = bool(_DIRECTORY.fullmatch(source.directory))
    else:
        found = source.hugging_face
        source_good = bool(_REPOSITORY.fullmatch(found.repository) and _COMMIT.fullmatch(found.revision))
    checks = {
        f"modelId is not the file's name, {name!r}": model.model_id == name,
        "servedName will not do": bool(_SERVED_NAME.fullmatch(model.served_name)),
        "source names neither a directory nor a repository at a commit": source_good,
        "dtype is none of auto, bfloat16, float16": model.dtype in ("auto", "bfloat16", "float16"),
        "quantization will not do": bool(_WORD.fullmatch(model.quantization)),
        "toolCallParser will not do": bool(_WORD.fullmatch(model.tool_call_parser)),
        "contextTokens is 0": model.context_tokens > 0,
        "maxRunningCalls is 0": model.max_running_calls > 0,
    }
    return next((fault for fault, good in checks.items() if not good), None)
