"""The blocks of a guide that a test runs: *run* stands above each, and *prints* above what it prints."""

import re
import shlex
from pathlib import Path

from typer.testing import CliRunner

from control_plane.cli.app import app

DOCS = Path(__file__).parents[2] / "docs"
# Stands for what differs from run to run.
_GAP = "…"


def blocks(page: Path, language: str, mark: str = "run") -> list[str]:
    """In their order. Raises AssertionError for a mark that no such block follows."""
    text = page.read_text()
    found = re.findall(rf"^\*{mark}\*\n\n```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(found) == text.count(f"*{mark}*\n"), f"{page.name}: a mark *{mark}* without its block"
    return found


def run(line: str) -> str:
    """One command of `daalu`, in this process: a new one for each would take most of a test's time."""
    program, *words = shlex.split(line, comments=True)
    assert program == "daalu", f"{line!r}: only daalu is run here"
    words, into = (words[:-2], words[-1]) if words[-2:-1] == [">"] else (words, None)
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, f"{line}: {result.exception!r}\n{result.output}"
    if into is not None:
        Path(into).write_text(result.stdout)
    return result.stdout


def assert_printed(printed: str, told: list[str]) -> None:
    """What a page says that its blocks print, one after the other."""
    wanted = "".join(told)
    pattern = "[^\n]+".join(re.escape(part) for part in wanted.split(_GAP))
    assert re.fullmatch(pattern, printed), f"printed:\n{printed}\nthe page says:\n{wanted}"
