"""Commands about contexts: several control planes, each by a name."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from control_plane.cli.confirm import Yes, make_sure
from control_plane.cli.context_option import context_from_environment
from control_plane.cli.contexts_file import (
    Context,
    Contexts,
    check_name,
    contexts_file,
    load_contexts,
    save_contexts,
)
from control_plane.cli.failure import Failure
from control_plane.cli.rest import Json, ask, check_private, target_of, trust
from control_plane.cli.show import print_json, print_table
from control_plane.config import InvalidSetting, load_settings

app = typer.Typer(help="Several control planes, each by a name of its own.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="What you call it.")]


@app.command("add")
def add(
    name: Name,
    url: Annotated[str | None, typer.Option("--address", help="Its address, https://host:port.")] = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", help="Holds its operator token; - reads it from standard input."),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option("--certificate", help="Trust this certificate (PEM) and no other."),
    ] = None,
    directory: Annotated[
        Path | None, typer.Option("--directory", help="Its data directory, where it is on this machine.")
    ] = None,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Do not ask it whether address, token and trust are right.")
    ] = False,
) -> None:
    """Remembers a control plane, once it has answered.

    Its token is kept in a file that only you can read, and is never printed. Without --token-file it is asked
    for, or taken from DAALU_TOKEN; with --token-file none it is not kept, and each command needs DAALU_TOKEN.
    """
    check_name(name)
    if (url is None) is (directory is None):
        raise Failure("say where it is: --address https://host:port, or --directory on this machine")
    known = load_contexts(contexts_file())
    if name in known.by_name:
        raise Failure(f"there is a context {name!r} already: `daalu contexts remove {name}` first")
    if directory is not None:
        made = _of_directory(directory)
    else:
        made = _of_address(str(url), token_file, certificate, unchecked=unchecked)
    current = known.current or name
    save_contexts(contexts_file(), Contexts({**known.by_name, name: made}, current))
    print(f"{name} is kept in {contexts_file()}" + (", and in use" if current == name else ""))


@app.command("list")
def list_contexts(as_json: Json = False) -> None:
    """The control planes that are known, without their tokens."""
    known = load_contexts(contexts_file())
    current = context_from_environment() or known.current
    shown = [
        {
            "name": name,
            "current": name == current,
            "url": each.url,
            "data": each.data,
            "token_kept": each.token is not None,
            "certificate_pinned": each.certificate_pem is not None,
        }
        for name, each in sorted(known.by_name.items())
    ]
    if as_json:
        print_json(shown)
        return
    rows = [
        (
            "*" if each["current"] else "",
            each["name"],
            each["url"] or each["data"],
            *_token_and_trust(each),
        )
        for each in shown
    ]
    columns = ("", "NAME", "WHERE", "TOKEN", "TRUST")
    print_table(columns, rows, empty="no contexts: daalu contexts add NAME --address https://host:port")


@app.command("use")
def use(name: Name) -> None:
    """Makes a context the one that commands speak to where they name no other."""
    known = load_contexts(contexts_file())
    known.find(name)
    save_contexts(contexts_file(), replace(known, current=name))
    print(f"{name} is in use")


@app.command("remove")
def remove(name: Name, yes: Yes = False) -> None:
    """Forgets a context and its token. The control plane itself is not touched."""
    known = load_contexts(contexts_file())
    known.find(name)
    make_sure(f"Forget {name} and its token?", yes=yes)
    left = {each: context for each, context in known.by_name.items() if each != name}
    current = None if known.current == name else known.current
    save_contexts(contexts_file(), Contexts(left, current))
    print(f"{name} is forgotten" + ("; no context is in use now" if current is None else ""))


def _token_and_trust(shown: dict[str, Any]) -> tuple[str, str]:
    if shown["data"] is not None:
        return "its directory's", "its directory's"
    token = "kept" if shown["token_kept"] else "from DAALU_TOKEN"
    return token, "one certificate" if shown["certificate_pinned"] else "the system's"


def _of_directory(directory: Path) -> Context:
    try:
        load_settings(directory)
    except InvalidSetting as error:
        raise Failure(str(error)) from error
    return Context(data=str(directory.absolute()))


def _of_address(url: str, token_file: Path | None, certificate: Path | None, *, unchecked: bool) -> Context:
    address = check_private(url)
    try:
        pem = None if certificate is None else certificate.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{certificate} cannot be read as a certificate: {error}") from error
    trust(pem)
    made = Context(url=address, token=_token(token_file), certificate_pem=pem)
    if not unchecked and made.token is not None:
        ask(target_of(made), "GET", "/tenants")
    return made


def _token(file: Path | None) -> str | None:
    """None: it is not to be kept. Never from an argument, which every user of the machine could read."""
    if file == Path("none"):
        return None
    try:
        if file == Path("-"):
            text = sys.stdin.readline().strip()
        elif file is not None:
            text = file.read_text().strip()
        elif "DAALU_TOKEN" in os.environ:
            text = os.environ["DAALU_TOKEN"].strip()
        elif sys.stdin.isatty():
            text = typer.prompt("its operator token", hide_input=True, err=True).strip()
        else:
            raise Failure("say where its operator token is: --token-file FILE, - for standard input, or none")
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{file} cannot be read: {error}") from error
    if not text.isascii() or not text.isprintable() or not text:
        raise Failure("that is no operator token: it is one line of plain characters")
    return text
