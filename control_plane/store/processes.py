"""The processes that serve from one store: who lives shares what is limited, who died left work behind."""

from dataclasses import dataclass

from sqlmodel import Session, col, func, select

from control_plane.identifiers import ProcessId
from control_plane.store.tables import Process

# Silent for this long, a process is taken for dead. Several beats, so that a busy disk buries nobody.
GONE_AFTER_S = 20.0


@dataclass(frozen=True, slots=True)
class Living:
    """`oldest_start_unix_ms`: what began before it, no living process can be serving."""

    count: int
    oldest_start_unix_ms: int


def beat(session: Session, process_id: ProcessId, *, started_unix_ms: int, now_unix_ms: int) -> Living:
    """A unit of work: says that this process lives, and finds out who else does."""
    row = session.get(Process, process_id) or Process(
        id=process_id, started_unix_ms=started_unix_ms, seen_unix_ms=now_unix_ms
    )
    row.seen_unix_ms = now_unix_ms
    session.add(row)
    session.flush()
    living = select(func.count(), func.min(Process.started_unix_ms)).where(
        col(Process.ended_unix_ms).is_(None),
        col(Process.seen_unix_ms) > now_unix_ms - int(GONE_AFTER_S * 1000),
    )
    count, oldest = session.exec(living).one()
    return Living(count, oldest)


def end(session: Session, process_id: ProcessId, *, now_unix_ms: int) -> None:
    """A unit of work: it ends in good order, and leaves nothing behind."""
    row = session.get(Process, process_id)
    if row is not None:
        row.ended_unix_ms = now_unix_ms
        session.add(row)
