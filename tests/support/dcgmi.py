"""A `dcgmi` that says what a test wrote for it, in the shapes that NVIDIA's manual documents."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Notes its arguments, says what `answer` holds, waits where it is told to, and ends as told.
_PROGRAM = """#!{python}
import os, pathlib, subprocess, sys, time
here = pathlib.Path({directory!r})
with (here / "calls").open("a") as calls:
    print(*sys.argv[1:], file=calls)
if (here / "hangs").exists():
    child = subprocess.Popen(["sleep", "600"])
    (here / "pids.draft").write_text(f"{{os.getpid()}} {{child.pid}}")
    (here / "pids.draft").rename(here / "pids")
    child.wait()
sys.stdout.write((here / "answer").read_text())
sys.exit(int((here / "status").read_text()))
"""


class FakeDcgmi:
    """Installed in a directory of its own, which goes before the others on PATH."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "dcgmi"
        self._directory.mkdir()
        program = self._directory / "dcgmi"
        program.write_text(_PROGRAM.format(python=sys.executable, directory=str(self._directory)))
        program.chmod(0o755)
        self.answers("", 0)

    @property
    def path(self) -> str:
        return f"{self._directory}{os.pathsep}{os.environ['PATH']}"

    def answers(self, text: str, status: int) -> None:
        (self._directory / "answer").write_text(text)
        (self._directory / "status").write_text(str(status))

    def hangs(self) -> None:
        (self._directory / "hangs").touch()

    def calls(self) -> list[str]:
        calls = self._directory / "calls"
        return calls.read_text().splitlines() if calls.exists() else []

    def pids(self) -> tuple[int, ...]:
        """Its own and its child's, once it hangs; empty before."""
        pids = self._directory / "pids"
        return tuple(map(int, pids.read_text().split())) if pids.exists() else ()


def report(tests: Sequence[tuple[str, str, Sequence[dict[str, Any]]]], *, version: int = 4) -> str:
    """Of category, name and results. DCGM 4 has a summary of each test, and names the root otherwise."""
    categories: dict[str, list[dict[str, Any]]] = {}
    for category, name, results in tests:
        test: dict[str, Any] = {"name": name, "results": list(results)}
        if version == 4:
            test["test_summary"] = {"status": results[0]["status"] if results else "Not Run"}
        categories.setdefault(category, []).append(test)
    listed = [{"category": category, "tests": each} for category, each in categories.items()]
    if version == 4:
        return json.dumps(
            {
                "DCGM Diagnostic": {"test_categories": listed},
                "entity_groups": [
                    {
                        "entities": [{"device_id": "20b5", "entity_id": 0, "serial_num": "1650"}],
                        "entity_group": "GPU",
                        "entity_group_id": 1,
                    }
                ],
                "metadata": {"Driver Version Detected": "570.86.10", "version": "4.2.3"},
            },
            indent=2,
        )
    root = {
        "Driver Version Detected": "535.54.03",
        "GPU Device IDs": ["20b5"],
        "test_categories": listed,
        "version": "3.1.8",
    }
    return json.dumps({"DCGM GPU Diagnostic": root}, indent=2)


def of_card(card: int, status: str, **more: Any) -> dict[str, Any]:
    """A result as DCGM 4 gives it."""
    return {"entity_group": "GPU", "entity_group_id": 1, "entity_id": card, "status": status} | more
