"""The agent's own catalogue: what it accepts, and what it refuses to run."""

import json
from pathlib import Path

import pytest
from daalu_wire.v1 import agent_pb2

from agent.engine.catalogue import Catalogue, InvalidEntry, NotInCatalogue, digest_of
from control_plane.catalogue import Catalogue as ControlPlanesCatalogue

ENTRY = {
    "modelId": "tiny",
    "servedName": "tiny-random",
    "kind": "MODEL_KIND_GENERAL",
    "licence": "Apache-2.0",
    "source": {"directory": "tiny"},
    "parametersCount": "200000",
    "contextTokens": 8192,
    "architecture": {"layersCount": 2, "kvHeadsCount": 2, "headSize": 32},
    "dtype": "bfloat16",
    "maxRunningCalls": 16,
}


def write(directory: Path, entry: object, name: str = "tiny.json") -> None:
    (directory / name).write_text(json.dumps(entry))


def test_what_ships_with_the_product_is_there() -> None:
    shipped = {reference.model_id: reference for reference in Catalogue.load().references()}
    assert Catalogue.load().find(shipped["smollm2-135m-instruct"]).served_name == "smollm2-135m"


def test_both_programs_see_the_same_digests(tmp_path: Path) -> None:
    write(tmp_path, ENTRY | {"description": "Zwölf Boxkämpfer"})
    theirs = {entry.model.model_id: entry.digest for entry in ControlPlanesCatalogue.load(tmp_path)}
    ours = {reference.model_id: reference.digest for reference in Catalogue.load(tmp_path).references()}
    assert ours == theirs
    assert len(ours) == len(Catalogue.load().references()) + 1


def test_a_digest_is_of_the_content_not_of_its_spelling() -> None:
    assert digest_of({"b": 1, "a": [1.5]}) == digest_of(json.loads('{"a":[1.50],  "b":1}'))
    assert digest_of({"a": 1}) != digest_of({"a": 2})


def test_another_content_of_the_same_name_is_refused(tmp_path: Path) -> None:
    write(tmp_path, ENTRY)
    asked = agent_pb2.CatalogueReference(model_id="tiny", digest="0" * 64)
    with pytest.raises(NotInCatalogue, match="same version"):
        Catalogue.load(tmp_path).find(asked)


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(NotInCatalogue, match="'nothing'"):
        Catalogue.load().find(agent_pb2.CatalogueReference(model_id="nothing"))


@pytest.mark.parametrize(
    "change",
    [
        {"modelId": "other"},
        {"servedName": "--trust-remote-code"},
        {"servedName": "two words"},
        {"source": {"directory": "../etc"}},
        {"source": {"directory": "/etc"}},
        {"source": {}},
        {"source": {"huggingFace": {"repository": "org/name", "revision": "main"}}},
        {"source": {"huggingFace": {"repository": "--flag", "revision": "a" * 40}}},
        {"dtype": "--dtype"},
        {"quantization": "--x y"},
        {"toolCallParser": "--x y"},
        {"contextTokens": 0},
        {"maxRunningCalls": 0},
        {"engineArguments": ["--host", "0.0.0.0"]},
    ],
)
def test_nothing_that_could_become_another_argument_is_accepted(
    tmp_path: Path, change: dict[str, object]
) -> None:
    write(tmp_path, ENTRY | change)
    with pytest.raises(InvalidEntry, match=r"tiny\.json"):
        Catalogue.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b" " * 70_000])
def test_what_is_no_entry_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.json").write_bytes(content)
    with pytest.raises(InvalidEntry, match=r"broken\.json"):
        Catalogue.load(tmp_path)


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidEntry, match="missing"):
        Catalogue.load(tmp_path / "missing")
