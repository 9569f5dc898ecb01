"""An engine Python that puts the recorder in front of the gate, and what it recorded."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import engine_recorder

_WRAPPER = """#!/bin/sh
# Starts vLLM with one middleware more; everything else as it was asked.
export PATH="{bin}:$PATH" DAALU_TEST_RECORD="{record}"
case "$2" in
  vllm.*) export PYTHONPATH="$PYTHONPATH:{modules}"; set -- "$@" --middleware engine_recorder.Recorder ;;
esac
exec "{python}" "$@"
"""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One call as the engine's server saw it."""

    headers: list[tuple[str, str]]
    request: Any
    response: str


class RecordedEngine:
    def __init__(self, directory: Path, python: Path) -> None:
        """`python`: the engine environment's own."""
        self.python = directory / "python"
        self._record = directory / "record.jsonl"
        self._record.touch()
        self.python.write_text(
            _WRAPPER.format(
                bin=python.parent,
                python=python,
                record=self._record,
                modules=Path(engine_recorder.__file__).parent,
            )
        )
        self.python.chmod(0o755)

    def exchanges(self) -> list[Exchange]:
        """Those that have ended, oldest first."""
        found = []
        for line in self._record.read_text().splitlines():
            item = json.loads(line)
            headers = [(name, value) for name, value in item["headers"]]
            found.append(Exchange(headers, json.loads(item["request"]), item["response"]))
        return found
