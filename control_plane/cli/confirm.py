"""Asking before something is ended for good."""

import sys
from typing import Annotated

import typer

from control_plane.cli.failure import Failure

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]


def make_sure(question: str, *, yes: bool) -> None:
    """Returns where the answer is yes. Raises Failure for a no, and where nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Failure(f"nobody can be asked here: {question} Give --yes where you are sure")
    if not typer.confirm(question, err=True):
        raise Failure("nothing was changed")
