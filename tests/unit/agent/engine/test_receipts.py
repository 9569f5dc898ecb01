"""The journal as the daemon reads it."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from daalu_wire.v1 import agent_pb2

from agent.engine import receipts as receipts_module
from agent.engine.gate import Journal, journal
from agent.engine.receipts import JournalReader


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SEGMENT_BYTES_MAX", 1_500)


class Writer:
    """Writes receipts as the gate does."""

    def __init__(self, directory: Path) -> None:
        self._journal = Journal(directory, time.time())
        self._count = 0

    def write(self, count: int) -> None:
        for _ in range(count):
            self._count += 1
            call: dict[str, Any] = {
                "kind": "admission",
                "call_id": "call",
                "attempt_id": f"att-{self._count}",
                "served_name": "tiny-random",
                "tier": "own",
                "expires_s": 0,
                "path": "/v1/completions",
                "accepted_unix_ms": 1,
            }
            self._journal.admit(call, time.time())
            ending = {"http_status": 200, "prompt_tokens": 3, "completion_tokens": self._count}
            self._journal.end(call, ending | {"outcome": "COMPLETE"})


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.jsonl"))


async def take(receipts: AsyncIterator[agent_pb2.Receipt], count: int) -> list[int]:
    return [(await anext(receipts)).sequence for _ in range(count)]


async def test_all_there_is_then_what_comes(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.write(30)
    receipts = JournalReader(tmp_path).receipts(0)
    assert await take(receipts, 30) == list(range(1, 31))
    coming = asyncio.create_task(take(receipts, 25))
    await asyncio.sleep(0)
    writer.write(25)
    assert await coming == list(range(31, 56))


async def test_a_receipt_carries_what_the_gate_wrote(tmp_path: Path) -> None:
    Writer(tmp_path).write(1)
    receipt = await anext(JournalReader(tmp_path).receipts(0))
    assert receipt == agent_pb2.Receipt(
        sequence=1,
        call_id="call",
        attempt_id="att-1",
        served_name="tiny-random",
        path="/v1/completions",
        http_status=200,
        prompt_tokens=3,
        completion_tokens=1,
        accepted_unix_ms=1,
        outcome=agent_pb2.RECEIPT_OUTCOME_COMPLETE,
    )


@pytest.mark.parametrize("after", [0, 1, 9, 10, 11, 39])
async def test_a_cursor_resumes_anywhere(tmp_path: Path, after: int) -> None:
    Writer(tmp_path).write(40)
    assert await take(JournalReader(tmp_path).receipts(after), 40 - after) == list(range(after + 1, 41))


async def test_a_reader_may_come_before_the_journal(tmp_path: Path) -> None:
    receipts = JournalReader(tmp_path / "journal").receipts(0)
    coming = asyncio.create_task(take(receipts, 1))
    await asyncio.sleep(0)
    Writer(tmp_path / "journal").write(1)
    assert await coming == [1]


async def test_acknowledged_segments_go_and_nothing_else(tmp_path: Path) -> None:
    Writer(tmp_path).write(40)
    reader = JournalReader(tmp_path)
    before = len(segments(tmp_path))
    reader.acknowledge(0)
    assert len(segments(tmp_path)) == before
    reader.acknowledge(20)
    assert 0 < len(segments(tmp_path)) < before
    assert await take(reader.receipts(20), 20) == list(range(21, 41))
    reader.acknowledge(40)
    assert len(segments(tmp_path)) == 1


async def test_reading_goes_on_when_what_was_read_is_deleted(tmp_path: Path) -> None:
    writer, reader = Writer(tmp_path), JournalReader(tmp_path)
    writer.write(40)
    receipts = reader.receipts(0)
    await take(receipts, 40)
    writer.write(40)
    reader.acknowledge(40)
    assert await take(receipts, 40) == list(range(41, 81))


async def test_a_torn_line_is_waited_for_or_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts_module, "LOOK_S", 0.01)
    Writer(tmp_path).write(2)
    segment = segments(tmp_path)[-1]
    line = segment.read_bytes().splitlines(keepends=True)[-1].replace(b'"sequence":2', b'"sequence":3')
    receipts = JournalReader(tmp_path).receipts(2)
    with segment.open("ab") as file:
        file.write(line[:20])
        file.flush()
        coming = asyncio.create_task(take(receipts, 1))
        await asyncio.sleep(0.05)
        assert not coming.done()
        file.write(line[20:])
    assert await coming == [3]


async def test_numbers_go_on_after_the_cursor_when_the_journal_was_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = Writer(tmp_path)
    reader = JournalReader(tmp_path).receipts(100)
    coming = asyncio.create_task(take(reader, 3))
    await asyncio.sleep(0)
    assert "it was lost or restored" in caplog.text
    writer.write(3)
    assert await coming == [101, 102, 103]


async def test_they_go_on_when_the_cursor_comes_before_the_engine(tmp_path: Path) -> None:
    directory = tmp_path / "journal"
    coming = asyncio.create_task(take(JournalReader(directory).receipts(100), 1))
    await asyncio.sleep(0)
    Writer(directory).write(1)
    assert await coming == [101]


async def test_they_go_on_after_an_older_copy_was_restored(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.write(40)
    coming = asyncio.create_task(take(JournalReader(tmp_path).receipts(100), 2))
    await asyncio.sleep(0)
    writer.write(2)
    assert await coming == [101, 102]


async def test_a_cursor_at_the_journals_end_is_no_loss(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer, reader = Writer(tmp_path), JournalReader(tmp_path)
    writer.write(40)
    reader.acknowledge(40)
    coming = asyncio.create_task(take(JournalReader(tmp_path).receipts(40), 1))
    await asyncio.sleep(0)
    writer.write(1)
    assert await coming == [41]
    assert caplog.text == ""


async def test_a_lost_journal_is_lost_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        coming = asyncio.create_task(take(JournalReader(tmp_path).receipts(100), 1))
        await asyncio.sleep(0)
        coming.cancel()
    assert caplog.text.count("it was lost or restored") == 1
