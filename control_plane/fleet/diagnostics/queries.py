"""What the store keeps of diagnostics."""

import json
from dataclasses import dataclass
from enum import StrEnum

from sqlmodel import Session, and_, col, or_, select

from control_plane.access import Duplicate, Unknown, audit
from control_plane.fleet.diagnostics.finding import Evidence, Finding, Verdict
from control_plane.fleet.diagnostics.levels import is_stressful
from control_plane.fleet.diagnostics.taking import check_free, give_back
from control_plane.identifiers import AgentId, DiagnosticRunId
from control_plane.store import unix_ms
from control_plane.store.diagnostic_tables import DiagnosticFinding, DiagnosticRun
from control_plane.store.tables import Agent

# A run whose process is gone is taken for lost no later than this.
LEASE_MS = 30_000
LOST = "the control plane ended before it did"
# A run of level 0, the only one without a lease, takes 2 minutes at most.
_UNLEASED_MS = 240_000


class Kind(StrEnum):
    """What is looked over."""

    HOST = "host"
    # Every stage from the card to the page.
    PIPELINE = "pipeline"


class AlreadyRunning(Duplicate):
    """The agent is being looked over already."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run, with the name of its agent, and its findings in order."""

    row: DiagnosticRun
    agent_name: str
    findings: tuple[Finding, ...]


def begin_run(
    session: Session,
    *,
    run_id: DiagnosticRunId,
    agent_id: AgentId,
    actor: str,
    level: int = 0,
    kind: Kind = Kind.HOST,
) -> None:
    """Raises Unknown, and Duplicate where another run, or for a stressful one a load test, is under way."""
    agent = session.get(Agent, agent_id)
    if agent is None:
        raise Unknown("agent", agent_id)
    reap(session)
    live = select(DiagnosticRun.id).where(
        DiagnosticRun.agent_id == agent_id, col(DiagnosticRun.ended_unix_ms).is_(None)
    )
    other = session.exec(live).first()
    if other is not None:
        raise AlreadyRunning(f"this agent is being looked over already: daalu diagnostics show {other}")
    if is_stressful(level):
        check_free(session, agent_id)
    now = unix_ms()
    session.add(
        DiagnosticRun(
            id=run_id,
            tenant_id=agent.tenant_id,
            agent_id=agent_id,
            level=level,
            kind=kind,
            actor=actor,
            started_unix_ms=now,
            lease_unix_ms=now + LEASE_MS,
        )
    )
    detail = {"run": run_id, "level": level} | ({"kind": kind} if kind is not Kind.HOST else {})
    action = "diagnostics.run"
    audit(session, actor=actor, action=action, subject=agent_id, tenant_id=agent.tenant_id, detail=detail)


def add_finding(session: Session, *, run_id: DiagnosticRunId, position: int, finding: Finding) -> None:
    evidence = [{"command": each.command, "output": each.output} for each in finding.evidence]
    session.add(
        DiagnosticFinding(
            run_id=run_id,
            position=position,
            check_name=finding.check,
            title=finding.title,
            verdict=finding.verdict,
            saw=finding.saw,
            advice=finding.advice,
            duration_ms=finding.duration_ms,
            evidence=json.dumps(evidence),
        )
    )


def live_on(session: Session, run_id: DiagnosticRunId) -> bool:
    """Extends a run's lease; False: it was cancelled, or ended by another process."""
    row = session.get_one(DiagnosticRun, run_id)
    if row.cancelled_unix_ms is not None or row.ended_unix_ms is not None:
        return False
    row.lease_unix_ms = unix_ms() + LEASE_MS
    session.add(row)
    return True


def end_run(session: Session, *, run_id: DiagnosticRunId, error: str | None) -> None:
    """What it took from the card's service is given back with it."""
    row = session.get(DiagnosticRun, run_id)
    if row is not None and row.ended_unix_ms is None:
        row.ended_unix_ms = unix_ms()
        row.error = error
        session.add(row)
        give_back(session, row)


def cancel_run(session: Session, *, run_id: str, actor: str) -> None:
    """Its process ends it. Again, or once ended: nothing. Raises Unknown."""
    row = session.get(DiagnosticRun, run_id)
    if row is None:
        raise Unknown("diagnostic run", run_id)
    if row.ended_unix_ms is None and row.cancelled_unix_ms is None:
        row.cancelled_unix_ms = unix_ms()
        session.add(row)
        audit(
            session,
            actor=actor,
            action="diagnostics.cancelled",
            subject=row.agent_id,
            tenant_id=row.tenant_id,
            detail={"run": row.id},
        )


def reap(session: Session) -> None:
    """Ends those whose process is gone."""
    now = unix_ms()
    lost = select(DiagnosticRun.id).where(
        col(DiagnosticRun.ended_unix_ms).is_(None),
        or_(
            col(DiagnosticRun.lease_unix_ms) < now,
            and_(
                col(DiagnosticRun.lease_unix_ms).is_(None),
                col(DiagnosticRun.started_unix_ms) < now - _UNLEASED_MS,
            ),
        ),
    )
    for run_id in session.exec(lost).all():
        end_run(session, run_id=DiagnosticRunId(run_id), error=LOST)


def is_lost(started_unix_ms: int, ended_unix_ms: int | None, lease_unix_ms: int | None = None) -> bool:
    """Whether a run without an end cannot come to one any more: its process is gone, and nobody noted it."""
    if ended_unix_ms is not None:
        return False
    now = unix_ms()
    return now > lease_unix_ms if lease_unix_ms is not None else now - started_unix_ms > _UNLEASED_MS


def find_run(session: Session, run_id: str) -> Run:
    """Raises Unknown."""
    row = session.get(DiagnosticRun, run_id)
    if row is None:
        raise Unknown("diagnostic run", run_id)
    return _with_findings(session, row)


def list_runs(session: Session, agent_id: str, limit: int) -> list[Run]:
    """The newest first."""
    rows = session.exec(
        select(DiagnosticRun)
        .where(DiagnosticRun.agent_id == agent_id)
        # Ids sort by the time of their creation.
        .order_by(col(DiagnosticRun.started_unix_ms).desc(), col(DiagnosticRun.id).desc())
        .limit(limit)
    )
    return [_with_findings(session, row) for row in rows]


def _with_findings(session: Session, row: DiagnosticRun) -> Run:
    agent = session.get(Agent, row.agent_id)
    findings = session.exec(
        select(DiagnosticFinding)
        .where(DiagnosticFinding.run_id == row.id)
        .order_by(col(DiagnosticFinding.position))
    )
    return Run(row, agent.name if agent else row.agent_id, tuple(map(_finding, findings)))


def _finding(row: DiagnosticFinding) -> Finding:
    return Finding(
        check=row.check_name,
        title=row.title,
        verdict=Verdict(row.verdict),
        saw=row.saw,
        advice=row.advice,
        duration_ms=row.duration_ms,
        evidence=tuple(Evidence(**each) for each in json.loads(row.evidence)),
    )
