"""The catalogue reads what ships and the operator's directory, and refuses what is doubtful."""

import json
from pathlib import Path
from typing import Any

import pytest

from control_plane.catalogue import Catalogue, InvalidEntry

ENTRY: dict[str, Any] = {
    "modelId": "tiny",
    "servedName": "tiny",
    "kind": "MODEL_KIND_GENERAL",
    "licence": "Apache-2.0",
    "source": {"directory": "tiny"},
    "parametersCount": "200000",
    "contextTokens": 2048,
    "architecture": {"layersCount": 2, "kvHeadsCount": 2, "headSize": 16},
    "dtype": "bfloat16",
    "maxRunningCalls": 4,
}


def _put(directory: Path, name: str, **changes: Any) -> None:
    (directory / f"{name}.json").write_text(json.dumps(ENTRY | {"modelId": name} | changes))


def test_what_ships_with_the_product_is_usable() -> None:
    entry = Catalogue.load().get("smollm2-135m-instruct")
    assert entry is not None
    assert entry.model.served_name == "smollm2-135m"
    assert len(entry.digest) == 64


def test_the_operators_entries_stand_beside_those_that_ship(tmp_path: Path) -> None:
    _put(tmp_path, "tiny")
    (tmp_path / "README.txt").write_text("not an entry")
    assert Catalogue.load(tmp_path).get("tiny") is not None
    assert len(Catalogue.load(tmp_path)) == len(Catalogue.load()) + 1
    ids = [entry.model.model_id for entry in Catalogue.load(tmp_path)]
    assert ids == sorted(ids)


def test_an_id_that_ships_cannot_be_redefined(tmp_path: Path) -> None:
    _put(tmp_path, "smollm2-135m-instruct")
    with pytest.raises(InvalidEntry, match=r"smollm2-135m-instruct\.json: modelId: .* is also in .*models"):
        Catalogue.load(tmp_path)


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidEntry, match="absent: directory: is not there"):
        Catalogue.load(tmp_path / "absent")


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    _put(tmp_path, "tiny", description="x" * 70_000)
    with pytest.raises(InvalidEntry, match="larger than 65536 bytes"):
        Catalogue.load(tmp_path)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tiny.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(InvalidEntry, match=r"tiny\.json: file: is not UTF-8"):
        Catalogue.load(tmp_path)


def test_an_unknown_model_is_none() -> None:
    assert Catalogue().get("absent") is None
