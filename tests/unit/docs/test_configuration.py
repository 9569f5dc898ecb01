"""The configuration page says what the settings are now."""

from dataclasses import fields
from pathlib import Path

import pytest

import agent.config
import control_plane.config
from tests.support.configuration_page import _purposes, page

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text() == page(), "run scripts/gen_configuration"


def test_every_setting_of_both_programs_has_a_row() -> None:
    rows = [line.split("|")[1].strip() for line in page().splitlines() if line.startswith("| `")]
    settings = {each.name for each in fields(control_plane.config.Settings)} - {"data"}
    names = sorted(f"`{name}`" for name in [*settings, *agent.config.NAMES])
    assert sorted(row for row in rows if not row.startswith("`--")) == names


def test_a_setting_that_says_not_what_it_is_for_is_an_error(tmp_path: Path) -> None:
    source = tmp_path / "config.py"
    source.write_text("class Settings:\n    # Told.\n    first: int\n    second: int\n")
    with pytest.raises(ValueError, match=r"Settings\.second has no comment"):
        _purposes(source, "Settings")
