"""The first hour's commands, run against a control plane and an agent; what they print is on the page."""

import re
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.control_plane import ControlPlane, free_ports, serving
from tests.support.direct_agent import enrolled_by, wait_until_live
from tests.support.guide import DOCS, assert_printed, blocks, run

PAGE = DOCS / "first-hour.md"
# Its line on the page is the owner's.
_HOSTS = "`daalu-agent enrol invite --name alpha`"


def test_the_first_hour_goes_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = blocks(PAGE, "sh")
    plane = ControlPlane(tmp_path / "data", *free_ports(2))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAALU_DATA", str(plane.data))
    printed = _printed(first)
    monkeypatch.setenv("DAALU_URL", plane.tls_url)
    assert _HOSTS in PAGE.read_text()
    with serving(plane, *plane.place), ExitStack() as until_the_end:
        for block in others:
            if block.startswith("daalu agents list"):
                host = enrolled_by(str(tmp_path / "invite"), tmp_path / "host", name="alpha")
                until_the_end.enter_context(host.running())
                wait_until_live(plane, "alpha")
            printed += _printed(block)
    assert_printed(
        _without_columns(printed), [_without_columns("".join(blocks(PAGE, "text", mark="prints")))]
    )


def _printed(block: str) -> str:
    """On a terminal, where what goes to a file is not seen."""
    printed = [(line, run(line)) for line in block.splitlines()]
    return "".join(text for line, text in printed if " > " not in line)


def _without_columns(text: str) -> str:
    """How wide a column is follows from what differs in it."""
    return "\n".join(re.sub(" +", " ", line).rstrip() for line in text.split("\n"))
