"""What the store keeps of diagnostics."""

import json
from dataclasses import dataclass

from sqlmodel import Session, col, select

from control_plane.access import Unknown, audit
from control_plane.fleet.diagnostics.finding import Evidence, Finding, Verdict
from control_plane.identifiers import AgentId, DiagnosticRunId
from control_plane.store import unix_ms
from control_plane.store.diagnostic_tables import DiagnosticFinding, DiagnosticRun
from control_plane.store.tables import Agent

LEVEL = 0


@dataclass(frozen=True, slots=True)
class Run:
    """A run, with the name of its agent, and its findings in order."""

    row: DiagnosticRun
    agent_name: str
    findings: tuple[Finding, ...]


def begin_run(session: Session, *, run_id: DiagnosticRunId, agent_id: AgentId, actor: str) -> None:
    """Raises Unknown."""
    agent = session.get(Agent, agent_id)
    if agent is None:
        raise Unknown("agent", agent_id)
    session.add(
        DiagnosticRun(
            id=run_id,
            tenant_id=agent.tenant_id,
            agent_id=agent_id,
            level=LEVEL,
            actor=actor,
            started_unix_ms=unix_ms(),
        )
    )
    detail = {"run": run_id, "level": LEVEL}
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


def end_run(session: Session, *, run_id: DiagnosticRunId, error: str | None) -> None:
    row = session.get(DiagnosticRun, run_id)
    if row is not None and row.ended_unix_ms is None:
        row.ended_unix_ms = unix_ms()
        row.error = error
        session.add(row)


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
