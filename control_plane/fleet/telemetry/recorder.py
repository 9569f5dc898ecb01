"""Takes samples from the event loop and writes them in a thread of its own, in groups.

Nobody waits for it: what cannot be written for now is queued, and beyond the queue's limit dropped, counted
and told. What is open of a series is in memory until the file has it.
"""

import logging
import sqlite3
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from daalu_wire.v1 import agent_pb2

from control_plane.fleet.facts import AgentFacts
from control_plane.fleet.health_rules import Health
from control_plane.fleet.telemetry.chunk import Chunk, Damaged
from control_plane.fleet.telemetry.fields import Row, SubjectSample, fields_of, subjects
from control_plane.fleet.telemetry.file import (
    PRUNE_ROWS,
    SPARE_PAGES,
    VACUUM_PAGES,
    ChangeRow,
    Series,
    TelemetryFile,
    is_damage,
    put_aside,
)
from control_plane.fleet.telemetry.reliability import WINDOW_MS, Subject, presence_of
from control_plane.fleet.telemetry.tiers import HOUR_MS, TIERS, Tier
from control_plane.fleet.view import Liveness
from control_plane.store import unix_ms

logger = logging.getLogger(__name__)

# Short turns: the thread shares the interpreter with the event loop.
TURN_S = 0.1
SAVE_EVERY_S = 5.0
RETRY_S = 2.0
# After the disk was stuck, the event loop must not wait for all that has gathered.
MAX_SAMPLES_A_TURN = 500
TELL_EVERY_S = 60.0
# A disk that is stuck does not keep the control plane from ending.
CLOSE_TIMEOUT_S = 5.0
# Cards that came and went over the years, and the engine; an agent cannot make up any number of them.
MAX_SUBJECTS = 128
# Twice as long as they are looked at.
KEEP_CHANGES_MS = 2 * WINDOW_MS
MAX_WORDS_CHARACTERS = 500
# How fast what is kept shrinks and grows with the room there is.
SHRINK, GROW = 0.98, 1.01
ROOMY = 0.9


@dataclass(frozen=True, slots=True)
class Limits:
    """`waiting_samples`: 20 s of 1,000 agents with a sample every 2 s. A card takes 1.5 MB of the file."""

    waiting_samples: int = 10_000
    file_bytes: int = 2 * 1024**3


@dataclass(slots=True)
class _Open:
    """A chunk in memory. `due_s`: by when the file must have it; None: it has."""

    slot: int
    chunk: Chunk
    due_s: float | None = None


_Heard = tuple[AgentFacts, agent_pb2.TelemetrySample, int]
# A series' number and a tier's.
_Key = tuple[int, int]


class Recorder:
    """The fleet's Record: its methods are for the event loop, all else runs in the recorder's thread."""

    def __init__(self, path: Path, limits: Limits | None = None) -> None:
        self.path = path
        self._limits = limits or Limits()
        self._heard: deque[_Heard] = deque()
        self._changes: deque[ChangeRow] = deque()
        # Number of the row that says how long this process has looked.
        self._watch: int | None = None
        # Samples that were never written.
        self.dropped_count = 0
        self._told_s = -TELL_EVERY_S
        self._file: TelemetryFile | None = None
        self._series: dict[tuple[str, str], dict[str, Series]] = {}
        self._open: dict[_Key, _Open] = {}
        # Of each tier, in the order in which they are due.
        self._due: dict[int, deque[tuple[float, _Open, int]]] = {tier.number: deque() for tier in TIERS}
        # Encoded, and not in the file yet.
        self._pending: dict[int, bytes] = {}
        self._save_at_s = 0.0
        # How much of each tier's time is kept, so that the file stays within its limit.
        self._share = 1.0
        self._prune_changes_ms = 0
        self._failing = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry-writer", daemon=True)
        self._thread.start()

    @property
    def waiting_count(self) -> int:
        """Samples that wait for the file."""
        return len(self._heard)

    def sampled(self, facts: AgentFacts, sample: agent_pb2.TelemetrySample, at_unix_ms: int) -> None:
        """Notes a sample, or drops it where too many wait. The sample must not change any more."""
        if len(self._heard) >= self._limits.waiting_samples:
            self.dropped_count += 1
            if time.monotonic() - self._told_s >= TELL_EVERY_S:
                self._told_s = time.monotonic()
                logger.warning(
                    "telemetry is not written fast enough, %d samples were dropped: look at the disk of %s",
                    self.dropped_count,
                    self.path,
                )
            return
        self._heard.append((facts, sample, at_unix_ms))

    def liveness_changed(self, facts: AgentFacts, liveness: Liveness | None, at_unix_ms: int) -> None:
        """Notes it; beyond the limit it is dropped, and nothing is said: of samples more were."""
        self._change(facts, Subject.PRESENCE, presence_of(liveness), "", at_unix_ms)

    def health_changed(self, facts: AgentFacts, health: Health, words: str, at_unix_ms: int) -> None:
        self._change(facts, Subject.HEALTH, health, words[:MAX_WORDS_CHARACTERS], at_unix_ms)

    def _change(self, facts: AgentFacts, subject: Subject, state: str, words: str, at_unix_ms: int) -> None:
        if len(self._changes) < self._limits.waiting_samples:
            self._changes.append(
                (facts.tenant_id, facts.agent_id, str(subject), at_unix_ms, str(state), words)
            )

    def close(self) -> None:
        """Writes what there is and ends the thread; waits CLOSE_TIMEOUT_S for that. Again: nothing."""
        self._closing.set()
        self._thread.join(CLOSE_TIMEOUT_S)
        if self._thread.is_alive():
            logger.warning("telemetry of the last seconds is lost: %s does not take it", self.path)

    def _run(self) -> None:
        last = False
        while not last:
            last = self._closing.wait(RETRY_S if self._failing else TURN_S)
            try:
                self._turn(last=last)
            except (sqlite3.Error, OSError) as error:
                self._fail(error)
            except Exception:
                logger.exception("a defect in the recorder of telemetry; it goes on")
                self._failing = True
        if self._file is not None:
            self._file.close()

    def _turn(self, *, last: bool) -> None:
        if self._file is None:
            self._file = self._opened()
        file, now_s = self._file, time.monotonic()
        if self._failing:
            # Nothing more is taken before what is in hand is written, so that it cannot grow.
            self._save(file, now_s)
        self._take(file, now_s, len(self._heard) if last else MAX_SAMPLES_A_TURN)
        for tier in TIERS:
            self._encode_due(tier, now_s, everything=last)
        if last or now_s >= self._save_at_s:
            self._save(file, now_s)
            self._prune(file)

    def _opened(self) -> TelemetryFile:
        file = TelemetryFile.open(self.path, unix_ms())
        self._series.clear()
        is_new = file.is_empty()
        if self._watch is None or is_new:
            self._watch = file.watch(unix_ms())
        if is_new:
            # Series have other numbers in a file that is new: what is in hand was of the one before.
            self._open.clear()
            self._pending.clear()
            for due in self._due.values():
                due.clear()
        return file

    def _take(self, file: TelemetryFile, now_s: float, at_most: int) -> None:
        for _ in range(min(len(self._heard), at_most)):
            heard = self._heard.popleft()
            try:
                self._note(file, heard, now_s)
            except sqlite3.Error:
                self._heard.appendleft(heard)
                raise

    def _note(self, file: TelemetryFile, heard: _Heard, now_s: float) -> None:
        facts, sample, at_unix_ms = heard
        # All chunks before any is changed: reading one can fail.
        opened: list[tuple[Tier, int, _Open, Row]] = []
        for subject in subjects(sample):
            series = self._series_of(file, facts, subject)
            if series is not None:
                opened += [
                    (tier, series.id, self._chunk(file, tier, series.id, subject, at_unix_ms), subject.row)
                    for tier in TIERS
                ]
        for tier, series_id, each, row in opened:
            each.chunk.add(tier.offset(at_unix_ms), row)
            if each.due_s is None:
                each.due_s = now_s + tier.flush_after_ms / 1000
                self._due[tier.number].append((each.due_s, each, series_id))

    def _series_of(self, file: TelemetryFile, facts: AgentFacts, sample: SubjectSample) -> Series | None:
        key = facts.tenant_id, facts.agent_id
        known = self._series.get(key)
        if known is None:
            known = self._series[key] = file.series_of(*key)
        series = known.get(sample.subject)
        if series is None and len(known) >= MAX_SUBJECTS:
            return None
        if series is None or (series.index, series.simulated) != (sample.index, sample.simulated):
            series = file.put_series(*key, sample.subject, index=sample.index, simulated=sample.simulated)
            known[sample.subject] = series
            if len(known) == MAX_SUBJECTS:
                logger.warning("agent %s has had %d cards: no more are recorded", facts.agent_id, len(known))
        return series

    def _chunk(
        self, file: TelemetryFile, tier: Tier, series: int, sample: SubjectSample, at_unix_ms: int
    ) -> _Open:
        slot, key = tier.slot(at_unix_ms), (series, tier.number)
        found = self._open.get(key)
        if found is not None and found.slot == slot:
            return found
        if found is not None:
            self._encode(tier, series, found)
        chunk = Chunk(fields_of(sample.subject), is_raw=tier.is_raw)
        chunk_id = tier.chunk_id(slot, series)
        # There where a process before this one began it, or the clock was set back.
        stored = self._pending.get(chunk_id) or file.chunk(chunk_id)
        if stored is not None:
            try:
                chunk.load(stored)
            except Damaged as damage:
                logger.warning("a part of agent history is written anew: %s", damage)
        self._open[key] = opened = _Open(slot, chunk)
        return opened

    def _encode_due(self, tier: Tier, now_s: float, *, everything: bool) -> None:
        due = self._due[tier.number]
        while due and (everything or due[0][0] <= now_s):
            due_s, opened, series = due.popleft()
            # Where its slot ended meanwhile, it has been encoded already.
            if opened.due_s == due_s:
                self._encode(tier, series, opened)

    def _encode(self, tier: Tier, series: int, opened: _Open) -> None:
        if opened.due_s is not None:
            self._pending[tier.chunk_id(opened.slot, series)] = opened.chunk.encode()
            opened.due_s = None

    def _save(self, file: TelemetryFile, now_s: float) -> None:
        changes = [self._changes[number] for number in range(len(self._changes))]
        assert self._watch is not None  # noqa: S101 - set where the file was opened
        file.save(self._pending, changes, (self._watch, unix_ms()))
        self._pending.clear()
        for _ in changes:
            self._changes.popleft()
        self._save_at_s = now_s + SAVE_EVERY_S
        if self._failing:
            self._failing = False
            logger.info("telemetry is written again")

    def _prune(self, file: TelemetryFile) -> None:
        now_unix_ms = unix_ms()
        self._forget(now_unix_ms)
        deleted = [file.prune(tier, now_unix_ms - int(tier.keep_ms * self._share)) for tier in TIERS]
        size = file.size()
        if now_unix_ms >= self._prune_changes_ms:
            file.prune_changes(now_unix_ms - KEEP_CHANGES_MS)
            self._prune_changes_ms = now_unix_ms + HOUR_MS
        if size.free_pages > SPARE_PAGES:
            file.give_back(VACUUM_PAGES)
        if size.used_bytes > self._limits.file_bytes:
            # Only once this share's own pruning has come to its end.
            if max(deleted) < PRUNE_ROWS:
                self._share *= SHRINK
        elif size.used_bytes < ROOMY * self._limits.file_bytes:
            self._share = min(1.0, self._share * GROW)

    def _forget(self, now_unix_ms: int) -> None:
        """Chunks whose time is over and which the file has: those of agents that are gone."""
        over = [
            (series, number)
            for (series, number), each in self._open.items()
            if each.due_s is None and each.slot < TIERS[number].slot(now_unix_ms)
        ]
        for key in over:
            del self._open[key]

    def _fail(self, error: Exception) -> None:
        if not self._failing:
            logger.warning("telemetry cannot be written, trying again: %s: %s", self.path, error)
        self._failing = True
        if self._file is not None:
            try:
                self._file.close()
            except sqlite3.Error as again:
                logger.debug("closing %s: %s", self.path, again)
            self._file = None
        if is_damage(error):
            try:
                put_aside(self.path, error, unix_ms())
            except OSError as again:
                logger.warning("%s is damaged, and cannot be put aside: %s", self.path, again)
