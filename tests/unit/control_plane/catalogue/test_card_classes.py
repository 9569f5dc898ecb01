"""Card classes are read from files, the operator's beside those that ship, and refused where doubtful."""

import json
from pathlib import Path
from typing import Any

import pytest

from control_plane.catalogue import CardClasses, InvalidEntry

GOOD: dict[str, Any] = {
    "id": "mine-32gb",
    "name": "Mine 32 GB",
    "nvmlNames": ["NVIDIA Mine"],
    "memoryMibLeast": 30_000,
    "memoryMibMost": 32_768,
    "computeCapability": "12.0",
    "form": "server",
    "pcieGeneration": 5,
    "pcieLanes": 16,
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "card-classes").mkdir()
    return tmp_path


def _put(directory: Path, content: object, name: str = "mine-32gb.json") -> None:
    (directory / "card-classes" / name).write_text(json.dumps(content))


def test_what_people_own_ships_with_the_product() -> None:
    ids = {each.card_class.id for each in CardClasses.load()}
    assert ids >= {"rtx-2000-ada-16gb", "rtx-6000-ada-48gb", "rtx-3090-24gb", "rtx-4090-24gb"}
    assert ids >= {"rtx-5090-32gb", "a10-24gb", "l4-24gb", "l40s-48gb", "a100-40gb", "a100-80gb"}
    assert ids >= {"h100-80gb", "h200-141gb", "rtx-pro-6000-96gb"}


def test_the_operators_class_stands_beside_those_that_ship(directory: Path) -> None:
    _put(directory, GOOD)
    found = CardClasses.load(directory).recognise("NVIDIA Mine", 32_000 * 1024**2, "12.0")
    assert found is not None
    assert (found.id, found.pcie_generation, found.pcie_lanes) == ("mine-32gb", 5, 16)


def test_an_operator_without_classes_of_their_own_needs_no_directory(tmp_path: Path) -> None:
    assert list(CardClasses.load(tmp_path))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"id": "other"}, "id"),
        ({"id": "Mine"}, "id"),
        ({"nvmlNames": []}, "nvmlNames"),
        ({"memoryMibLeast": "30000"}, "memoryMibLeast"),
        ({"memoryMibLeast": 40_000}, "file"),
        ({"memoryMibMost": 0}, "memoryMibMost"),
        ({"computeCapability": "twelve"}, "computeCapability"),
        ({"form": "tower"}, "form"),
        ({"pcieLanes": 0}, "pcieLanes"),
        ({"speed": 9}, "speed"),
    ],
)
def test_a_bad_field_is_named_with_its_file(directory: Path, changes: dict[str, Any], field: str) -> None:
    _put(directory, GOOD | changes)
    with pytest.raises(InvalidEntry, match=r"mine-32gb\.json: ") as caught:
        CardClasses.load(directory)
    assert caught.value.field == field


def test_text_that_is_no_json_is_refused(directory: Path) -> None:
    (directory / "card-classes" / "mine-32gb.json").write_text("{")
    with pytest.raises(InvalidEntry, match=r"mine-32gb\.json"):
        CardClasses.load(directory)


def test_an_id_that_ships_cannot_be_redefined(directory: Path) -> None:
    _put(directory, GOOD | {"id": "l4-24gb"}, "l4-24gb.json")
    with pytest.raises(InvalidEntry, match="is also in"):
        CardClasses.load(directory)


def test_a_card_that_could_be_of_two_classes_is_refused(directory: Path) -> None:
    _put(directory, GOOD | {"nvmlNames": ["NVIDIA L4"], "memoryMibLeast": 24_000})
    with pytest.raises(InvalidEntry, match="already l4-24gb"):
        CardClasses.load(directory)
