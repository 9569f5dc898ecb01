"""One catalogue entry: from a file's text to a checked value with a digest. Pure."""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from daalu_wire.v1 import catalogue_pb2
from google.protobuf import json_format

MODEL_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
# Text that becomes an argument or a header: no spaces, no control characters, no leading dash.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
_DIRECTORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PARSER = re.compile(r"[a-z0-9_.-]{0,64}")
_DTYPES = ("auto", "bfloat16", "float16")


class InvalidEntry(ValueError):
    """A catalogue entry that cannot be used. The message names the file and the field."""

    def __init__(self, file: str, field: str, reason: str) -> None:
        super().__init__(f"{file}: {field}: {reason}")
        self.file = file
        self.field = field
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Entry:
    """A model and the digest of the JSON value that it was read from. `file` says where, for messages."""

    model: catalogue_pb2.Model
    digest: str
    file: str


def digest_of(value: Any) -> str:
    """Lower-case hexadecimal SHA-256 of a JSON value in canonical form: keys sorted, no white space."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def parse_entry(text: str, *, file: str, expected_id: str) -> Entry:
    """Reads and checks an entry. `expected_id` is what the file's name says its id is.

    Raises InvalidEntry with the first thing that is wrong.
    """
    try:
        value = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except RecursionError:
        raise InvalidEntry(file, "file", "nested too deeply") from None
    except ValueError as error:
        raise InvalidEntry(file, "file", f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidEntry(file, "file", "must be a JSON object")
    try:
        model = json_format.ParseDict(value, catalogue_pb2.Model())
    except json_format.ParseError as error:
        raise InvalidEntry(file, "fields", str(error)) from error
    if model.model_id != expected_id:
        reason = f"is {model.model_id!r}, but the file's name says {expected_id!r}: make them equal"
        raise InvalidEntry(file, "modelId", reason)
    for field, reason in _faults(model):
        raise InvalidEntry(file, field, reason)
    return Entry(model, digest_of(value), file)


def _faults(model: catalogue_pb2.Model) -> list[tuple[str, str]]:
    checks = [
        ("modelId", MODEL_ID.fullmatch(model.model_id), "1 to 64 of a-z, 0-9, '.', '_', '-'"),
        (
            "servedName",
            _NAME.fullmatch(model.served_name),
            "1 to 128 of letters, digits, '.', '_', ':', '/', '-'",
        ),
        ("kind", model.kind, "must be set, e.g. MODEL_KIND_GENERAL"),
        ("licence", model.licence.strip(), "must be an SPDX identifier, e.g. Apache-2.0"),
        ("parametersCount", model.parameters_count, "must be above 0"),
        ("contextTokens", model.context_tokens, "must be above 0"),
        ("architecture.layersCount", model.architecture.layers_count, "must be above 0"),
        ("architecture.kvHeadsCount", model.architecture.kv_heads_count, "must be above 0"),
        ("architecture.headSize", model.architecture.head_size, "must be above 0"),
        ("dtype", model.dtype in _DTYPES, f"must be one of {', '.join(_DTYPES)}"),
        ("quantization", _PARSER.fullmatch(model.quantization), "must be a name as vLLM knows it, or absent"),
        (
            "toolCallParser",
            _PARSER.fullmatch(model.tool_call_parser),
            "must be a name as vLLM knows it, or absent",
        ),
        ("maxRunningCalls", model.max_running_calls, "must be above 0"),
        *_source_checks(model.source),
    ]
    return [(field, reason) for field, good, reason in checks if not good]


def _source_checks(source: catalogue_pb2.ModelSource) -> list[tuple[str, object, str]]:
    match source.WhichOneof("source"):
        case "directory":
            good = _DIRECTORY.fullmatch(source.directory)
            return [("source.directory", good, "must be a plain directory name, with no path in it")]
        case "hugging_face":
            repository, revision = source.hugging_face.repository, source.hugging_face.revision
            return [
                ("source.huggingFace.repository", _REPOSITORY.fullmatch(repository), "must be owner/name"),
                (
                    "source.huggingFace.revision",
                    _COMMIT.fullmatch(revision),
                    "must be a commit of 40 hex digits",
                ),
            ]
        case _:
            return [("source", False, "must name a directory or huggingFace")]


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} appears twice")
        found[key] = value
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
