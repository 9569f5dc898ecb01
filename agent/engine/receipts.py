"""The daemon's end of the gate's journal: receipts in order, then new ones as they come."""

import asyncio
import contextlib
import itertools
import json
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from daalu_wire.v1 import agent_pb2

from agent.engine.gate import FLOOR
from agent.identity import write_atomically

log = logging.getLogger(__name__)

# How often the journal is looked at while nothing comes.
LOOK_S = 0.2
READ_BYTES = 256 * 1024


class JournalReader:
    """Reads what the gate writes, while it writes it. Any number of readers, one that acknowledges."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def receipts(self, after_sequence: int) -> AsyncIterator[agent_pb2.Receipt]:
        """Every receipt with a higher sequence number, for ever.

        A cursor beyond what the journal ever gave out says that the journal was lost, or restored from an
        older copy: the gate then numbers on after the cursor, or its receipts would pass for stored ones.
        """
        self._number_on_after(after_sequence)
        segment, offset = 0, 0
        while True:
            segments = self._segments()
            if segment not in segments:
                # At the start, or when the one being read was acknowledged by another reader meanwhile.
                segment, offset = self._first_with(after_sequence, segments), 0
            following = [other for other in segments if other > segment]
            data = self._read(segment, offset) if segments else b""
            whole = data.rfind(b"\n") + 1
            for receipt in self._parse(data[:whole]):
                if receipt.sequence > after_sequence:
                    after_sequence = receipt.sequence
                    yield receipt
            offset += whole
            if whole:
                continue
            if following:
                if data:
                    log.warning("the end of %s is torn: left out", self._path(segment))
                segment, offset = following[0], 0
            else:
                await asyncio.sleep(LOOK_S)

    def acknowledge(self, sequence: int) -> None:
        """Delete segments that hold nothing after this sequence number. The newest always stays."""
        segments = self._segments()
        for segment, following in itertools.pairwise(segments):
            # A segment's first line says which receipt comes next, so it bounds the one before.
            if self._next_sequence(following) > sequence + 1:
                return
            self._path(segment).unlink(missing_ok=True)

    def _number_on_after(self, cursor: int) -> None:
        last = self._last_sequence()
        if cursor <= last:
            return
        log.warning(
            "receipts up to %d are stored elsewhere, the journal in %s knows %d: it was lost or restored; "
            "numbers go on after %d",
            cursor,
            self._directory,
            last,
            cursor,
        )
        self._directory.mkdir(mode=0o700, exist_ok=True)
        write_atomically(self._directory / FLOOR, f"{cursor}\n".encode())

    def _last_sequence(self) -> int:
        """The highest that was given out, or that the floor stands for; 0 where there is none."""
        highest = self._floor()
        for segment in reversed(self._segments()):
            # It may go while it is looked at: then the one before, or none, bounds what there was.
            with contextlib.suppress(FileNotFoundError), self._path(segment).open("rb") as file:
                highest = max(highest, *map(_highest_in, file))
                break
        return highest

    def _floor(self) -> int:
        try:
            return int((self._directory / FLOOR).read_bytes())
        except FileNotFoundError:
            return 0
        except ValueError as error:
            log.warning("cannot read %s: %s", self._directory / FLOOR, error)
            return 0

    def _segments(self) -> list[int]:
        return sorted(int(path.stem) for path in self._directory.glob("*.jsonl") if path.stem.isdigit())

    def _path(self, segment: int) -> Path:
        return self._directory / f"{segment:012}.jsonl"

    def _first_with(self, after_sequence: int, segments: list[int]) -> int:
        for segment in reversed(segments):
            if self._next_sequence(segment) <= after_sequence + 1:
                return segment
        return segments[0] if segments else 0

    def _next_sequence(self, segment: int) -> int:
        try:
            with self._path(segment).open("rb") as file:
                return int(json.loads(file.readline())["next_sequence"])
        except (OSError, ValueError, KeyError) as error:
            # Never a reason to delete what it cannot bound.
            log.warning("cannot read the beginning of %s: %s", self._path(segment), error)
            return 1 << 63

    def _read(self, segment: int, offset: int) -> bytes:
        """From the offset, to the end of a line at least if there is one: a first line may be long."""
        try:
            with self._path(segment).open("rb") as file:
                file.seek(offset)
                data = file.read(READ_BYTES)
                return data if b"\n" in data or len(data) < READ_BYTES else data + file.readline()
        except FileNotFoundError:
            return b""

    def _parse(self, lines: bytes) -> Iterator[agent_pb2.Receipt]:
        for line in lines.splitlines():
            try:
                record = json.loads(line)
                if record["kind"] == "receipt":
                    yield _receipt(record)
            except (ValueError, KeyError, TypeError) as error:
                log.warning("left out a damaged line of the journal in %s: %r", self._directory, error)


def _highest_in(line: bytes) -> int:
    """The highest number that a line gives out or goes on from; 0 for a damaged one."""
    try:
        record = json.loads(line)
        return int(max(record.get("sequence", 0), record.get("next_sequence", 1) - 1))
    except (ValueError, TypeError, AttributeError):
        return 0


def _receipt(record: dict[str, Any]) -> agent_pb2.Receipt:
    fields = {name: value for name, value in record.items() if name not in ("kind", "outcome")}
    outcome = agent_pb2.ReceiptOutcome.Value(f"RECEIPT_OUTCOME_{record['outcome']}")
    return agent_pb2.Receipt(outcome=outcome, **fields)
