"""Every message that the troubleshooting page quotes is one that the product can print."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from agent.enrolment.asking import _REFUSALS
from control_plane.gateway.errors import Condition

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "troubleshooting.md"
# Stands on the page for what differs from time to time.
_GAP = "…"


@cache
def _rows() -> list[dict[str, str]]:
    """The rows of every table, by the names of its columns."""
    rows: list[dict[str, str]] = []
    names: list[str] | None = None
    for line in PAGE.read_text().splitlines():
        if not line.startswith("|"):
            names = None
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if names is None:
            names = cells
        elif set(line) - set("|- "):
            assert len(cells) == len(names), line
            rows.append(dict(zip(names, cells, strict=True)))
    return rows


def _messages() -> list[str]:
    return [row["message"][1:-1] for row in _rows() if row["message"]]


@cache
def _source() -> list[str]:
    """Every text in the source but documentation, with a mark for each value that is put into it."""
    texts: list[str] = []
    for room in ("agent", "control_plane"):
        for file in sorted((ROOT / room).rglob("*.py")):
            texts += _texts(ast.parse(file.read_text()))
    for script in sorted((ROOT / "installer").glob("*.sh")):
        texts += script.read_text().replace("\\\n", "").splitlines()
    return texts


def _texts(tree: ast.AST) -> Iterator[str]:
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if id(node) in documentation:
            continue
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else "\0"
                for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _pattern(message: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in message.split(_GAP)))


def _is_printed(message: str) -> bool:
    wanted = _pattern(message)
    return any(wanted.search(text) for text in _source())


@pytest.mark.parametrize("message", _messages())
def test_a_quoted_message_is_in_the_source(message: str) -> None:
    assert len(message.replace(_GAP, "").strip()) > 8, "too little of it is fixed to be found again"
    assert _is_printed(message)


def test_a_message_that_nobody_prints_is_found_out() -> None:
    assert not _is_printed("the control plane … has gone fishing")
    # Parts of two different messages are none.
    assert not _is_printed("the API key is not valid, … is reached; try again in")


def test_every_code_of_a_refused_call_has_its_row_with_its_status() -> None:
    told = {(row["code"].strip("`"), int(row["status"][:3])) for row in _rows() if "code" in row}
    assert told == {(each.value.code, each.value.status) for each in Condition}


@pytest.mark.parametrize("words", _REFUSALS.values())
def test_what_an_agent_says_of_a_refused_claim_is_on_the_page(words: str) -> None:
    assert any(_pattern(message).fullmatch(words) for message in _messages())
