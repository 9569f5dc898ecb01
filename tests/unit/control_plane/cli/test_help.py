"""Every command says what it does, and every argument and option of it what it is for."""

from collections.abc import Iterator
from typing import Any

import pytest

from control_plane.cli.app import whole_command


def _leaves(command: Any, path: str = "daalu") -> Iterator[tuple[str, Any]]:
    below = getattr(command, "commands", None)
    if below is None:
        yield path, command
    for name, each in (below or {}).items():
        yield from _leaves(each, f"{path} {name}")


@pytest.mark.parametrize(
    ("path", "command"),
    list(_leaves(whole_command())),
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_command_and_all_that_it_takes_is_explained(path: str, command: Any) -> None:
    assert command.help, path
    assert [each.name for each in command.params if not getattr(each, "help", None)] == []


def test_every_group_is_explained() -> None:
    groups = whole_command().commands.items()
    assert [name for name, each in groups if not each.help] == []


def test_whatever_speaks_to_a_control_plane_takes_its_context() -> None:
    speaking = [
        [option for parameter in command.params for option in parameter.opts]
        for _, command in _leaves(whole_command())
    ]
    with_address = [options for options in speaking if "--url" in options]
    assert len(with_address) > 30
    assert all("--context" in options for options in with_address)
