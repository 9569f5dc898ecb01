"""The journal: which attempts were admitted, and what came of them, on disk as it happens."""

import collections
import fcntl
import json
import logging
import os
import time
from pathlib import Path
from typing import Any

log = logging.getLogger("daalu.gate")

Record = dict[str, Any]

# Whose calls are accounted for; the daemon's and the control plane's own probes are nobody's usage.
TIERS_WITH_RECEIPTS = frozenset({"own", "pool"})
# A file beside the segments: the highest sequence number that was given out before the journal was lost.
FLOOR = "floor"
SEGMENT_BYTES_MAX = 4 << 20
SEGMENTS_MAX = 64


class Journal:
    """Admissions and receipts, one JSON object a line, in segments that are numbered and never reopened.

    A record is one write() and so outlives this process at once, kill -9 included (not a power cut). Every
    segment starts with all that is needed to go on from it: the next receipt's sequence number, and the
    admissions that are running or could still be replayed. Older ones may therefore be deleted at any time.
    """

    def __init__(self, directory: Path, now_s: float) -> None:
        """Take up what the last engine left; its calls that still ran then get a receipt."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RuntimeError(f"another engine writes the journal in {directory}") from error
        self._sequence = 1
        self._segment = self._size = 0
        self._file = -1
        self._floor_read_from: tuple[int, int] | None = None
        self.attempts: dict[str, Record] = {}
        self._order: collections.deque[str] = collections.deque()
        self._running: dict[str, Record] = {}
        self._load(now_s)
        self._rotate(now_s)
        for admission in list(self._running.values()):
            self.end(admission, {"outcome": "INTERRUPTED", "ended_unix_ms": int(now_s * 1000)})

    def admit(self, admission: Record, now_s: float) -> bool:
        """Remember the attempt; False when it could not be written (it is still remembered, in memory)."""
        self.forget(now_s)
        self._remember(admission)
        return self._write(admission, now_s)

    def end(self, admission: Record, ending: Record) -> None:
        """Write the attempt's receipt, unless it has one."""
        if self._running.pop(admission["attempt_id"], None) is None:
            return
        if admission["tier"] not in TIERS_WITH_RECEIPTS:
            self._write({"kind": "end", "attempt_id": admission["attempt_id"]}, time.time())
            return
        self._respect_floor()
        receipt = {"kind": "receipt", "sequence": self._sequence}
        receipt |= {name: admission[name] for name in ("call_id", "attempt_id", "served_name", "path")}
        receipt |= {"accepted_unix_ms": admission["accepted_unix_ms"]} | ending
        if self._write(receipt, time.time()):
            self._sequence += 1

    def forget(self, now_s: float) -> None:
        """Drop attempts whose tickets have expired: the ticket itself is refused from then on."""
        while self._order and self.attempts[self._order[0]]["expires_s"] < now_s:
            del self.attempts[self._order.popleft()]

    def close(self) -> None:
        """Let another journal write the directory. The end of the process does the same."""
        os.close(self._file)
        os.close(self._lock)

    def note(self, admission: Record) -> None:
        """Remember the attempt in memory alone."""
        if admission["attempt_id"] not in self.attempts:
            self._order.append(admission["attempt_id"])
        self.attempts[admission["attempt_id"]] = admission

    def _remember(self, admission: Record) -> None:
        self.note(admission)
        self._running[admission["attempt_id"]] = admission

    def _segments(self) -> list[int]:
        return sorted(int(path.stem) for path in self._directory.glob("*.jsonl") if path.stem.isdigit())

    def _path(self, segment: int) -> Path:
        return self._directory / f"{segment:012}.jsonl"

    def _load(self, now_s: float) -> None:
        segments = self._segments()
        self._segment = segments[-1] if segments else 0
        contents: list[list[Record]] = []
        for segment in reversed(segments):
            contents.insert(0, read_segment(self._path(segment)))
            if contents[0] and contents[0][0].get("kind") == "opened":
                break
        for record in (record for content in contents for record in content):
            if record["kind"] == "opened":
                self._sequence = max(self._sequence, record["next_sequence"])
                for admission in record["admissions"]:
                    self._remember(admission)
                for attempt_id in self._running.keys() - set(record["running"]):
                    del self._running[attempt_id]
            elif record["kind"] == "admission":
                self._remember(record)
            else:
                self._running.pop(record["attempt_id"], None)
                self._sequence = max(self._sequence, record.get("sequence", 0) + 1)
        self.forget(now_s)
        self._respect_floor()

    def _respect_floor(self) -> None:
        """Number on after the floor that the daemon sets when receipts are stored of which none is here."""
        path = self._directory / FLOOR
        try:
            stat = path.stat()
            if (stat.st_ino, stat.st_mtime_ns) != self._floor_read_from:
                self._sequence = max(self._sequence, int(path.read_bytes()) + 1)
                self._floor_read_from = (stat.st_ino, stat.st_mtime_ns)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            log.warning("cannot read %s: %s", path, error)

    def _rotate(self, now_s: float) -> None:
        self.forget(now_s)
        opened = {"kind": "opened", "next_sequence": self._sequence, "running": list(self._running)}
        opened["admissions"] = list((self.attempts | self._running).values())
        line = _line(opened)
        # Whole under another name first, so that a segment never exists without its first line.
        path = self._path(self._segment + 1)
        unfinished = path.with_suffix(".new")
        self._directory.mkdir(mode=0o700, exist_ok=True)
        unfinished.write_bytes(line)
        file = os.open(unfinished, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        unfinished.rename(path)
        if self._file >= 0:
            os.close(self._file)
        self._segment, self._size, self._file = self._segment + 1, len(line), file
        for segment in self._segments()[:-SEGMENTS_MAX]:
            log.warning(
                "the journal is full: receipts in %s were never collected and are lost", self._path(segment)
            )
            self._path(segment).unlink(missing_ok=True)

    def _write(self, record: Record, now_s: float) -> bool:
        line = _line(record)
        try:
            if self._size + len(line) > SEGMENT_BYTES_MAX:
                self._rotate(now_s)
            if os.write(self._file, line) < len(line):
                os.ftruncate(self._file, self._size)
                log.warning("cannot write the journal in %s: the disk is full", self._directory)
                return False
        except OSError as error:
            log.warning("cannot write the journal in %s: %s", self._directory, error)
            return False
        self._size += len(line)
        return True


def _line(record: Record) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def read_segment(path: Path) -> list[Record]:
    """Every whole record; a torn one (the engine was killed while writing) is logged and left out."""
    *lines, torn = path.read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(json.loads(line))
        except ValueError as error:
            log.warning("dropped line %d of %s: %s", number, path, error)
    if torn:
        log.warning("dropped the end of %s: the engine was killed while writing it", path)
    return records
