"""The text of docs/configuration.md, made from the settings; scripts/gen_configuration writes it."""

import ast
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import typer.main

import agent.config
import control_plane.config
from control_plane.cli.app import app

HEAD = """\
# Configuration

Every setting of both programs. `scripts/gen_configuration` makes this page from the code, and a test fails
where it is stale. What lies where, ports and protocols are in [architecture.md](architecture.md).

## The control plane

`daalu init` writes `config.toml` to the data directory (`--data`, `DAALU_DATA`, default `{data}`) and
never changes it again: edit it there and restart. `daalu serve` and `daalu hub` read it at their start; a
flag replaces what it says for that start alone. A name that is not below stops the start.

"""
BETWEEN = """
Flags that are no settings of the file:

"""
AGENT = """
## The agent

Defaults, then `{file}` (`--config` names another), then the environment, then flags:
what comes later counts. A name in the file that is not below stops the start, and so do `rpc_port` and
`engine_port` where they are the same. Every subcommand of `daalu-agent` but `version` takes the flags.

"""
FOOT = """\
`engine_environment` is a table in the file, repeats as a flag (`--engine-environment NAME=VALUE`, added to
the file's), and has no variable.
"""
_STARTING = ("init", "serve", "hub")
_WRITTEN = {str: "text", int: "whole number", bool: "true or false"}
_DEFAULT = re.compile(r" \[default: ([^\]]+)\]")


def page() -> str:
    return "".join(
        [
            HEAD.format(data=control_plane.config.DEFAULT_DATA),
            _table(("setting", "in the file", "default", "for", "flag"), _control_plane()),
            BETWEEN,
            _table(("flag", "of", "variable", "for"), _other_flags()),
            AGENT.format(file=agent.config.DEFAULT_FILE),
            _table(("setting", "accepted", "default", "for", "flag", "variable"), _agent()),
            "\n",
            FOOT,
        ]
    )


def _control_plane() -> Iterator[tuple[str, ...]]:
    module: Any = control_plane.config
    purposes = _purposes(Path(module.__file__), "Settings")
    flags = _flags()
    defaults = {each.name: each.default for each in fields(module.Settings)}
    for name, kind in module._TYPES.items():
        given = flags.get(name, {})
        option = next(iter(given.values()), None)
        yield (
            _code(name),
            _WRITTEN[kind],
            _default(option, defaults[name], required=name == "public_url"),
            purposes[name],
            f"{_code(option.opts[0])} ({', '.join(given)})" if option else "",
        )


def _default(option: Any, default: object, *, required: bool) -> str:
    """As the command line's help says it, where it does."""
    told = _DEFAULT.search(option.help) if option else None
    if told:
        return told[1]
    if required:
        return "must be given to `daalu init`"
    if option and option.is_flag:
        return "false"
    # What has no default and may be left out is None where it was.
    return "not set" if default in (None, MISSING) else str(default)


def _other_flags() -> Iterator[tuple[str, ...]]:
    for name, given in _flags().items():
        if name not in control_plane.config._TYPES:
            option = next(iter(given.values()))
            variable = _code(str(option.envvar)) if option.envvar else ""
            yield _code(option.opts[0]), ", ".join(given), variable, _sentence(option.help)


def _flags() -> dict[str, dict[str, Any]]:
    """By parameter, the option of each of the starting commands that has it."""
    group: Any = typer.main.get_command(app)
    found: dict[str, dict[str, Any]] = {}
    for command in _STARTING:
        for option in group.commands[command].params:
            found.setdefault(option.name, {})[command] = option
    return found


def _agent() -> Iterator[tuple[str, ...]]:
    module: Any = agent.config
    purposes = _purposes(Path(module.__file__), "AgentConfig")
    for each in fields(module.AgentConfig):
        default = "an empty table" if each.default is MISSING else str(each.default).lower()
        variable = (
            "" if each.name == "engine_environment" else _code(module.ENVIRONMENT_PREFIX + each.name.upper())
        )
        yield (
            _code(each.name),
            module._PARSERS[each.name][0],
            default if default in ("none", "an empty table") else _code(default),
            purposes[each.name],
            _code("--" + each.name.replace("_", "-")),
            variable,
        )


def _purposes(file: Path, name: str) -> dict[str, str]:
    """What the comment right above each field of a class says. ValueError for a field that has none."""
    source = file.read_text()
    lines = source.splitlines()
    (found,) = (
        node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == name
    )
    purposes = {}
    for node in found.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            above: list[str] = []
            for line in reversed(lines[: node.lineno - 1]):
                if not line.strip().startswith("# "):
                    break
                above.insert(0, line.strip()[2:])
            if not above:
                raise ValueError(f"{file}: {name}.{node.target.id} has no comment that says what it is for")
            purposes[node.target.id] = _sentence(" ".join(above))
    return purposes


def _sentence(text: str) -> str:
    return text.strip().removesuffix(".").replace("|", "\\|").replace("None:", "not set:")


def _code(text: str) -> str:
    return f"`{text}`"


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n".replace("|  |", "| |") for cells in lines)


if __name__ == "__main__":
    print(page(), end="")
