"""docs/cli.md: every command is in it, as it is now."""

from pathlib import Path

import pytest

from control_plane.cli.app import whole_command
from control_plane.cli.reference import reference, with_reference

PAGE = Path(__file__).parents[4] / "docs" / "cli.md"


def test_the_page_is_fresh() -> None:
    page = PAGE.read_text()
    assert with_reference(page, whole_command()) == page, "run scripts/gen_cli_docs"


def test_commands_show_their_arguments_options_choices_and_defaults() -> None:
    text = reference(whole_command())
    assert "### `daalu agents revoke AGENT`" in text
    assert "| `--purpose PURPOSE` | Coding calls stay within the tenant's perimeter. One of `general`" in text
    assert "| `--limit LIMIT` | The newest this many. Default: `50`. |" in text
    assert "| `--tenant TENANT` | A tenant's name or id. Required. |" in text


def test_a_page_without_a_place_for_the_reference_is_refused() -> None:
    with pytest.raises(ValueError, match="no line"):
        with_reference("# The command line", whole_command())
