"""What is taken of the kernel's log, and what is not."""

import os
from pathlib import Path

import pytest

from agent.cards.xid import (
    MAX_CARDS,
    MAX_EVENTS,
    MAX_WORDS_CHARACTERS,
    Event,
    KernelLog,
    Xid,
    parse,
    together,
)

FALLEN = (
    "3,1204,91834500000,-;NVRM: Xid (PCI:0000:65:00): 79, pid=1234, name=python, GPU has fallen off the bus."
)


def test_a_complaint_is_taken_apart() -> None:
    words = "pid=1234, name=python, GPU has fallen off the bus."
    assert parse(FALLEN) == Xid("0000:65:00", 79, 91_834.5, words)
    bare = "4,7,1500000,c;NVRM: Xid (PCI:0000:01:00.0): 62"
    assert parse(bare) == Xid("0000:01:00", 62, 1.5, "")


@pytest.mark.parametrize(
    "record",
    [
        "",
        "6,1,2,-;usb 1-1: new device",
        "6,1,2,-;NVRM: loading NVIDIA UNIX Open Kernel Module",
        "NVRM: Xid (PCI:0000:65:00): 79, no head of a record",
        "6,1,2,-;a user wrote NVRM: Xid (PCI:0000:65:00): 79",
        "6,1,2,-;NVRM: Xid (PCI:0000:65:00): seventy-nine",
        "6,1,2,-;NVRM: Xid (PCI:../../etc): 79",
    ],
)
def test_everything_else_is_left_alone(record: str) -> None:
    assert parse(record) is None


def test_words_are_cut_to_size_and_cannot_steer_a_terminal() -> None:
    found = parse("3,1,2,-;NVRM: Xid (PCI:0000:01:00): 13, \x1b[2J" + "w" * 10_000)
    assert found is not None
    assert len(found.words) == MAX_WORDS_CHARACTERS
    assert "\x1b" not in found.words


def _log(path: Path) -> KernelLog:
    return KernelLog(path, boot_unix_s=lambda: 1_000.0)


def _codes(log: KernelLog, bus_id: str = "00000000:65:00.0") -> list[int]:
    return [event.code for event in log.of(bus_id)]


def test_only_what_is_new_is_taken_and_the_newest_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "kmsg"
    path.write_text(FALLEN + "\n SUBSYSTEM=pci\n")
    log = _log(path)
    log.look()
    log.look()
    assert _codes(log) == [79]
    assert log.of("0000:65:00.0")[0].logged_unix_ms == 92_834_500
    with path.open("a") as more:
        more.writelines(f"3,1,2,-;NVRM: Xid (PCI:0000:65:00): {code}, x\n" for code in range(100, 130))
    log.look()
    assert _codes(log) == list(range(130 - MAX_EVENTS, 130))
    assert _codes(log, "00000000:66:00.0") == []
    log.close()


def test_a_log_that_cannot_be_had_says_why_until_it_can(tmp_path: Path) -> None:
    log = _log(tmp_path / "kmsg")
    log.look()
    assert "cannot be read: No such file" in log.error
    (tmp_path / "kmsg").touch()
    log.look()
    assert log.error == ""
    log.close()


def test_what_both_sources_have_is_one_event_and_keeps_its_words() -> None:
    logged = [Event(79, 1_000_000, "GPU has fallen off the bus")]
    told = [Event(79, 1_004_000, ""), Event(48, 990_000, ""), Event(79, 1_060_000, "")]
    assert together(logged, told) == [
        Event(48, 990_000, ""),
        Event(79, 1_000_000, "GPU has fallen off the bus"),
        Event(79, 1_060_000, ""),
    ]
    assert len(together([], [Event(1, number * 60_000, "") for number in range(100)])) == MAX_EVENTS


def test_a_log_with_no_end_of_cards_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "kmsg"
    path.write_text("".join(f"3,1,2,-;NVRM: Xid (PCI:{n:04x}:65:00): 79, x\n" for n in range(MAX_CARDS + 50)))
    log = _log(path)
    log.look()
    assert len(log._by_address) == MAX_CARDS
    log.close()


def test_a_log_that_waits_for_more_does_not_keep_anybody_waiting(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    log = _log(path)
    log.look()
    writer = os.open(path, os.O_WRONLY)
    log.look()
    os.write(writer, f"{FALLEN}\n".encode())
    log.look()
    assert _codes(log) == [79]
    os.close(writer)
    log.close()
