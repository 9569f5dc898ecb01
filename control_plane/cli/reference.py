"""The reference of docs/cli.md, from the commands themselves. Pure: commands in, Markdown out."""

from collections.abc import Iterator
from enum import Enum
from typing import Any, get_args

BEGIN = "<!-- From here on written by scripts/gen_cli_docs. -->"
# Said once, in the hand-written part.
_EVERYWHERE = {"--url", "--token", "--data", "--context", "--json", "--help"}


def reference(command: Any) -> str:
    """Of all that is below `command`, which is Typer's for the whole program."""
    parts = [BEGIN]
    for name, each in sorted(command.commands.items()):
        parts += _section(f"daalu {name}", each, "##")
    return "\n\n".join(parts) + "\n"


def with_reference(page: str, command: Any) -> str:
    """`page` with its reference written anew. Raises ValueError where it has no place for one."""
    head, marker, _ = page.partition(BEGIN)
    if not marker:
        raise ValueError(f"the page has no line {BEGIN!r}")
    return head + reference(command)


def _section(path: str, command: Any, level: str) -> Iterator[str]:
    below = getattr(command, "commands", None)
    if below is not None:
        yield f"{level} {path}\n\n{_paragraphs(command.help)}"
        for name, each in below.items():
            yield from _section(f"{path} {name}", each, f"{level}#")
        return
    lines = [f"{level} `{' '.join((path, *_positions(command)))}`", "", _paragraphs(command.help)]
    options = [row for parameter in command.params for row in _rows(parameter)]
    if options:
        lines += ["", "| | |", "|---|---|", *options]
    common = [name for parameter in command.params for name in parameter.opts if name in _EVERYWHERE]
    if "--url" in common:
        lines += ["", "Speaks to a control plane" + ("; `--json`." if "--json" in common else ".")]
    yield "\n".join(lines)


def _positions(command: Any) -> Iterator[str]:
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            name = _argument(parameter)
            yield name if parameter.required else f"[{name}]"


def _rows(parameter: Any) -> Iterator[str]:
    if _EVERYWHERE.intersection(parameter.opts):
        return
    if parameter.param_type_name == "argument":
        named = f"`{_argument(parameter)}`"
    else:
        value = "" if getattr(parameter, "is_flag", False) else f" {parameter.name.upper()}"
        names = [*parameter.opts, *parameter.secondary_opts]
        named = ", ".join(f"`{name}{value}`" for name in names)
    words = _cell(parameter.help or "")
    if parameter.required and parameter.param_type_name == "option":
        words += " Required."
    if choices := _choices(parameter.type_descriptor.annotation):
        words += f" One of {', '.join(f'`{each}`' for each in choices)}."
    default = parameter.default
    if not isinstance(default, bool) and default not in (None, "") and "default" not in words:
        words += f" Default: `{_plain(default)}`."
    yield f"| {named} | {words} |"


def _choices(annotation: Any) -> list[str]:
    """Of an enumeration, or of one that may be left out."""
    return [
        str(each.value)
        for kind in (annotation, *get_args(annotation))
        if isinstance(kind, type) and issubclass(kind, Enum)
        for each in kind
    ]


def _argument(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name).strip("{}").upper()


def _plain(value: Any) -> str:
    return str(getattr(value, "value", value))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _paragraphs(text: str | None) -> str:
    return "\n\n".join(" ".join(part.split()) for part in (text or "").split("\n\n"))
