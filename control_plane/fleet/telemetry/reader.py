"""Reads history from the file, in the caller's thread."""

import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from control_plane.fleet.telemetry.chunk import Damaged, decode
from control_plane.fleet.telemetry.fields import fields_of
from control_plane.fleet.telemetry.file import (
    changes_of,
    chunk_of,
    pruned_ms,
    reading,
    series_of,
    watched,
)
from control_plane.fleet.telemetry.history import (
    Decoded,
    History,
    Wanted,
    raw_history,
    stepped_history,
)
from control_plane.fleet.telemetry.reliability import WINDOW_MS, Change, Reliability, Span, reliability
from control_plane.fleet.telemetry.tiers import Choice, choose
from control_plane.identifiers import AgentId, TenantId

logger = logging.getLogger(__name__)


def read_history(path: Path, wanted: Wanted) -> History:
    """What the file has of the range: at most 15 s behind, in steps of a minute 25 s, of a quarter 125 s.

    A subject that said nothing in the range is in it, with no points or empty ones. Raises sqlite3.Error.
    """
    if not path.exists():
        # Nothing was recorded yet.
        return History(0, [])
    with reading(path) as connection:
        connection.execute("BEGIN")
        choice = choose(wanted.from_unix_ms, wanted.to_unix_ms, wanted.most_points, pruned_ms(connection))
        found = series_of(connection, wanted.tenant_id, wanted.agent_id)
        shown = raw_history if choice.tier.is_raw else stepped_history
        subjects = [
            shown(
                wanted,
                (subject, series.index, series.simulated),
                _chunks(connection, wanted, subject, series.id, choice),
                choice,
            )
            for subject, series in found.items()
            if wanted.subject in (None, subject)
        ]
    return History(choice.step_ms, subjects)


def read_reliability(path: Path, tenant_id: TenantId, agent_id: AgentId, now_unix_ms: int) -> Reliability:
    """Over the 30 days up to now. Raises sqlite3.Error."""
    span = Span(now_unix_ms - WINDOW_MS, now_unix_ms)
    if not path.exists():
        return reliability([], [], span)
    with reading(path) as connection:
        connection.execute("BEGIN")
        changes = changes_of(connection, tenant_id, agent_id, span)
        return reliability(changes, watched(connection, span), span)


def read_changes(path: Path, tenant_id: TenantId, agent_id: AgentId, span: Span) -> list[Change]:
    """Of presence and health within the span, in order. Raises sqlite3.Error."""
    if not path.exists():
        return []
    with reading(path) as connection:
        found = changes_of(connection, tenant_id, agent_id, span)
    return [change for change in found if change.at_unix_ms >= span.begin_ms]


def _chunks(
    connection: sqlite3.Connection, wanted: Wanted, subject: str, series: int, choice: Choice
) -> Iterator[Decoded]:
    tier = choice.tier
    for slot in range(tier.slot(wanted.from_unix_ms), tier.slot(wanted.to_unix_ms - 1) + 1):
        stored = chunk_of(connection, tier.chunk_id(slot, series))
        if stored is None:
            continue
        try:
            yield slot, decode(stored, fields_of(subject), is_raw=tier.is_raw)
        except Damaged as damage:
            logger.warning("history of agent %s: left out: %s", wanted.agent_id, damage)
