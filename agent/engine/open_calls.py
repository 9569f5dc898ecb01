"""How many calls the gate has let in and not seen end, read from its journal while it writes it.

The engine's own figures leave out a call that waits for its prompt to be read, and one whose last bytes are
still on their way; and a daemon that has just adopted an engine has none of them yet.
"""

import json
import logging
from pathlib import Path
from typing import Any

from agent.engine.gate import TIERS_WITH_RECEIPTS

log = logging.getLogger(__name__)


class OpenCalls:
    """Goes on reading where it stopped: a look costs what was written since."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._segment, self._offset = 0, 0
        self._gone = 0
        self._open: set[str] = set()

    def start_anew(self) -> None:
        """Another engine starts: what the last one left open has ended, though nothing says so yet."""
        self._gone = self._newest()

    def count(self) -> int:
        """Of the owner and of pools."""
        newest = self._newest()
        if newest <= self._gone:
            return 0
        if newest != self._segment:
            # Its first line says all that is open.
            self._segment, self._offset = newest, 0
        for line in self._read():
            try:
                self._apply(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                log.warning("left out a damaged line of the journal in %s: %r", self._directory, error)
        return len(self._open)

    def _newest(self) -> int:
        segments = [int(path.stem) for path in self._directory.glob("*.jsonl") if path.stem.isdigit()]
        return max(segments, default=0)

    def _read(self) -> list[bytes]:
        """Whole lines only: the rest is read with what completes it."""
        try:
            with (self._directory / f"{self._segment:012}.jsonl").open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return whole.splitlines()

    def _apply(self, record: dict[str, Any]) -> None:
        match record["kind"]:
            case "opened":
                tiers = {each["attempt_id"]: each["tier"] for each in record["admissions"]}
                self._open = {each for each in record["running"] if tiers.get(each) in TIERS_WITH_RECEIPTS}
            case "admission":
                if record["tier"] in TIERS_WITH_RECEIPTS:
                    self._open.add(record["attempt_id"])
            case _:
                self._open.discard(record["attempt_id"])
