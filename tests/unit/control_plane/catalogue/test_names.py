"""By which names clients may ask for a model."""

from pathlib import Path

import pytest

from control_plane.catalogue import Catalogue, InvalidEntry, load_names
from control_plane.catalogue.names import ALIASES_FILE, MOST_ALIASES_BYTES

CATALOGUE = Catalogue.load()


def _with(directory: Path, aliases: str) -> Path:
    (directory / ALIASES_FILE).write_text(aliases)
    return directory


def test_a_model_is_known_by_its_id_its_served_name_and_an_alias(tmp_path: Path) -> None:
    names = load_names(CATALOGUE, _with(tmp_path, '"gpt-4o-mini" = "qwen3-8b"\n'))
    asked = "qwen3-8b-awq", "qwen3-8b", "gpt-4o-mini"
    assert [names.served_name(each) for each in asked] == ["qwen3-8b"] * 3


def test_a_name_that_nobody_knows_stands_for_itself() -> None:
    assert load_names(CATALOGUE).served_name("of-the-owner") == "of-the-owner"


def test_coders_and_embedders_are_told_apart() -> None:
    names = load_names(CATALOGUE)
    assert any("coder" in each for each in names.coders)
    assert any("embedding" in each for each in names.embedders)
    assert not names.coders & names.embedders


@pytest.mark.parametrize(
    ("aliases", "words"),
    [
        ('"mine" = "no-such-model"', "no model of the catalogue"),
        ('"qwen3-8b" = "qwen3-8b"', "is the name of a model already"),
        ('"auto" = "qwen3-8b"', "is the name of a model already"),
        ('"mine" = 7', "in quotes"),
        ("mine", "is not TOML"),
        ("# " + "x" * MOST_ALIASES_BYTES, "is larger than"),
    ],
)
def test_an_aliases_file_that_cannot_be_used_says_what_is_wrong(
    tmp_path: Path, aliases: str, words: str
) -> None:
    with pytest.raises(InvalidEntry, match=words):
        load_names(CATALOGUE, _with(tmp_path, aliases))
