"""The commands that the documentation names exist, with the options that it gives them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from control_plane.cli.app import app

ROOT = Path(__file__).parents[3]
# Of cli.md, which is written from the commands themselves, a test of its own says when it is stale.
PAGES = [
    ROOT / "README.md",
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name != "cli.md"),
]
# In text between back quotes, and at the start of a line of an indented or fenced block.
_COMMAND = re.compile(r"`(daalu [^`\n]+)`|^ {0,4}(daalu [^\n]+)$", re.MULTILINE)
_WORD = re.compile(r"[a-z][a-z-]*")


def _commands() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for found in _COMMAND.finditer(page.read_text()):
            yield page.name, found[1] or found[2]


def _resolve(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the first words name, and the words after it."""
    command: Any = typer.main.get_command(app)
    while _is_group(command) and words and _WORD.fullmatch(words[0]):
        found = command.commands.get(words[0])
        assert found is not None, f"there is no command {words[0]!r} under {command.name!r}"
        command, words = found, words[1:]
    return command, words


def _is_group(command: Any) -> bool:
    return hasattr(command, "commands")


@pytest.mark.parametrize(("page", "text"), list(_commands()))
def test_a_command_in_the_documentation_exists(page: str, text: str) -> None:
    command, rest = _resolve(text.split()[1:])
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    for word in rest:
        if word.startswith("--"):
            assert word.split("=")[0].strip(",.") in known | {"--help"}, f"{page}: {text}"
    if _is_group(command) or not any(word for word in rest if not word.startswith("--")):
        # A mention of the command, not a use of it.
        return
    for parameter in command.params:
        if parameter.required and parameter.opts[0].startswith("--"):
            assert set(parameter.opts) & set(rest), f"{page}: {text} lacks {parameter.opts[0]}"


def test_the_documentation_names_commands_at_all() -> None:
    assert len(list(_commands())) > 20
