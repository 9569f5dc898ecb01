"""`--context`, for every command that speaks to a control plane."""

import os
from contextvars import ContextVar
from typing import Annotated, Any

import typer
import typer.main

CONTEXT_ENVIRONMENT = "DAALU_CONTEXT"
_HELP = f"A control plane by the name that `daalu contexts` knows it by; or {CONTEXT_ENVIRONMENT}."

# One value for the one command line that a process has.
_named: ContextVar[str | None] = ContextVar("named", default=None)


def named_context() -> str | None:
    """By `--context` on the command line."""
    return _named.get()


def context_from_environment() -> str | None:
    return os.environ.get(CONTEXT_ENVIRONMENT) or None


def offer_everywhere(command: Any) -> None:
    """Adds `--context` to every command below that has `--url`, which says the same in another way.

    Here, and not in each command's signature: whoever writes a command cannot forget it.
    """
    for each in getattr(command, "commands", {}).values():
        offer_everywhere(each)
        names = [option for parameter in each.params for option in parameter.opts]
        if "--url" in names and "--context" not in names:
            each.params.append(_option())


def _option() -> Any:
    """Made by Typer as a command's own would be."""
    template = typer.Typer(add_completion=False)
    template.command()(_template)
    (option,) = (each for each in typer.main.get_command(template).params if "--context" in each.opts)
    return option


def _remember(value: str | None) -> str | None:
    _named.set(value)
    return value


def _template(
    context: Annotated[
        str | None,
        typer.Option("--context", metavar="NAME", callback=_remember, expose_value=False, help=_HELP),
    ] = None,
) -> None:
    """Never called: its option is what is wanted."""
